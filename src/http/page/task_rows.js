// Rows of the task table: growth since the first count, order, and the tasks of one spawn site.

/** A spawn site: `news src/feeds.rs:41`. Runtimes are named, because a site may spawn on several. */
export function siteKey(row) {
  return `${row.runtime} ${row.spawned_at}`;
}

/** More sites are not compared. */
const MOST_SITES = 2000;

/** The answer with `alive` and `growth` in each row; `before` is the last answer that went through this function. */
export function grown(answer, before) {
  const first = new Map(before?.first ?? []);
  for (const row of answer.rows) {
    row.alive = row.alive ?? row.tasks - row.ended;
    const key = siteKey(row);
    row.growth = row.growth ?? (first.has(key) ? row.alive - first.get(key) : before ? row.alive : null);
    if (!first.has(key) && first.size < MOST_SITES) first.set(key, before ? 0 : row.alive);
  }
  return { ...answer, first };
}

/** The rows, the largest value first; unknown values come last. */
export function ordered(rows, order) {
  return [...rows].sort((a, b) => (b[order] ?? -Infinity) - (a[order] ?? -Infinity) || b.busy_ms - a.busy_ms || 0);
}

/** The rows of a site. */
export function ofSite(rows, key) {
  return rows.filter((row) => siteKey(row) === key);
}
