/**
 * Reading a part of a job's log.
 *
 * @module range
 */

/**
 * Yield the events behind a cursor and up to another that the log has reached, as they arrive: lists of some of them.
 *
 * @param {import("./trio_jobs.js").Jobs} jobs
 * @param {string} job Its id.
 * @param {number} after
 * @param {number} last
 * @param {() => boolean} [wanted] Nothing more is read once it returns false.
 * @returns {AsyncGenerator<import("./records.js").JobEvent[], void>}
 */
export async function* range(jobs, job, after, last, wanted = () => true) {
  if (after >= last) return;
  const follow = jobs.follow(job, { after, whole: false });
  try {
    for (let at = after; at < last; ) {
      const events = await follow.take();
      if (events.length === 0 || !wanted()) return;
      yield events.filter(({ seq, first = seq }) => first <= last);
      at = events[events.length - 1].seq;
    }
  } finally {
    follow.return();
  }
}
