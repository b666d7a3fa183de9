//! A database inside the process: SQLite, which is C, called from a task.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;

use super::{Case, Scene, prepared, scratch};
use crate::truth::Cause;

/// Rows of the searched table.
const ROWS: u32 = 400;

pub(super) const CASES: &[Case] = &[
    Case::stall("database-query", "SQLite joins without an index, repeatedly", Cause::Computing, |scene| {
        Box::pin(async move {
            let database = prepared(|| {
                let database = Connection::open_in_memory()?;
                fill(&database)?;
                Ok(database)
            });
            join(&scene, &database.await?)
        })
    }),
    Case::stall("database-commit", "SQLite commits one row after another to a file", Cause::File, |scene| {
        Box::pin(async move {
            let path = scratch("database");
            let made = path.clone();
            let database = prepared(move || open(&made)).await?;
            commit(&scene, &database)?;
            prepared(move || {
                drop(database);
                remove(&path)
            })
            .await
        })
    }),
];

fn fill(database: &Connection) -> anyhow::Result<()> {
    database.execute_batch("CREATE TABLE news (id INTEGER, title TEXT)")?;
    let mut insert = database.prepare("INSERT INTO news VALUES (?1, ?2)")?;
    for number in 0..ROWS {
        insert.execute((number, format!("title {}", number % 97)))?;
    }
    Ok(())
}

/// A database with synchronous commits.
fn open(path: &Path) -> anyhow::Result<Connection> {
    let database = Connection::open(path)?;
    database.execute_batch("PRAGMA synchronous = FULL; CREATE TABLE news (id INTEGER, title TEXT)")?;
    Ok(database)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path)?;
    let journal = PathBuf::from(format!("{}-journal", path.display()));
    if journal.exists() {
        fs::remove_file(journal)?;
    }
    Ok(())
}

#[inline(never)]
fn join(scene: &Scene, database: &Connection) -> anyhow::Result<()> {
    let length = scene.length();
    let query = "SELECT count(*) FROM news a, news b WHERE a.title = b.title AND a.id % 7 = b.id % 5";
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        black_box(database.query_row(query, (), |row| row.get::<_, i64>(0))?);
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn commit(scene: &Scene, database: &Connection) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        database.execute("INSERT INTO news VALUES (1, 'late')", ())?;
    }
    begun.end(line!());
    Ok(())
}
