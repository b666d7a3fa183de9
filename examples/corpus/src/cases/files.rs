//! Files, folders and pipes.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use super::{Case, Scene, later, prepared, scratch};
use crate::truth::Cause;

/// Size of each read and write, and of the file.
const PART: usize = 1 << 20;

/// Files in the walked folder.
const FILES: u32 = 400;

pub(super) const CASES: &[Case] = &[
    Case::stall("file-read", "reads a file in the page cache, repeatedly", Cause::File, |scene| {
        Box::pin(async move {
            let path = scratch("read");
            let (mut file, mut part) = create(&path).await?;
            read(&scene, &mut file, &mut part)?;
            remove(file, &path).await
        })
    }),
    Case::stall("file-write", "writes a file, repeatedly", Cause::File, |scene| {
        Box::pin(async move {
            let path = scratch("write");
            let (mut file, part) = create(&path).await?;
            write(&scene, &mut file, &part)?;
            remove(file, &path).await
        })
    }),
    Case::stall("fsync", "writes a little and syncs it, repeatedly", Cause::File, |scene| {
        Box::pin(async move {
            let path = scratch("fsync");
            let (mut file, part) = create(&path).await?;
            sync(&scene, &mut file, part.get(..4096).unwrap_or_default())?;
            remove(file, &path).await
        })
    }),
    Case::stall("synced-write", "writes a file of which every write waits for the disk", Cause::File, |scene| {
        Box::pin(async move {
            let path = scratch("synced");
            let (file, part) = create(&path).await?;
            let synced = path.clone();
            let mut file = prepared(move || {
                drop(file);
                Ok(File::options().write(true).custom_flags(libc::O_DSYNC).open(synced)?)
            })
            .await?;
            write_synced(&scene, &mut file, part.get(..4096).unwrap_or_default())?;
            remove(file, &path).await
        })
    }),
    Case::stall("directory-walk", "reads the metadata of every file of a folder", Cause::File, |scene| {
        Box::pin(async move {
            let folder = scratch("folder");
            let (filled, walked) = (folder.clone(), folder.clone());
            prepared(move || fill(&filled)).await?;
            walk(&scene, &walked)?;
            prepared(move || Ok(fs::remove_dir_all(&folder)?)).await
        })
    }),
    Case::stall("pipe-read", "reads a pipe that is written to late", Cause::File, |scene| {
        Box::pin(async move {
            let (mut reader, mut writer) = std::io::pipe()?;
            // The reader is gone only if the case has failed.
            later(scene.length(), move || drop(writer.write_all(&[1])))?;
            read_pipe(&scene, &mut reader)
        })
    }),
];

async fn create(path: &Path) -> anyhow::Result<(File, Vec<u8>)> {
    let path = path.to_owned();
    prepared(move || {
        let part = vec![7; PART];
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all(&part)?;
        Ok((file, part))
    })
    .await
}

async fn remove(file: File, path: &Path) -> anyhow::Result<()> {
    let path = path.to_owned();
    prepared(move || {
        drop(file);
        Ok(fs::remove_file(path)?)
    })
    .await
}

fn fill(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for number in 0..FILES {
        File::create(folder.join(format!("file {number}")))?;
    }
    Ok(())
}

#[inline(never)]
fn read(scene: &Scene, file: &mut File, part: &mut [u8]) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        file.rewind()?;
        file.read_exact(part)?;
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn write(scene: &Scene, file: &mut File, part: &[u8]) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        file.rewind()?;
        file.write_all(part)?;
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn sync(scene: &Scene, file: &mut File, little: &[u8]) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        file.write_all(little)?;
        file.sync_all()?;
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn write_synced(scene: &Scene, file: &mut File, little: &[u8]) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        file.write_all(little)?;
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn walk(scene: &Scene, folder: &Path) -> anyhow::Result<()> {
    let (mut bytes, length) = (0, scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        for entry in fs::read_dir(folder)? {
            bytes += entry?.metadata()?.len();
        }
    }
    begun.end(line!());
    std::hint::black_box(bytes);
    Ok(())
}

#[inline(never)]
fn read_pipe(scene: &Scene, reader: &mut PipeReader) -> anyhow::Result<()> {
    Ok(held!(scene.log, reader.read_exact(&mut [0]))?)
}
