// ---- schedules: what needs a look first, then what is due next

const SCHEDULE_ROWS = 20;

function scheduleNote(it) {
  if (it.paused) return "paused since " + clock(it.paused_at) + (it.pause_reason ? ": " + visible(it.pause_reason) : "");
  if (it.is_over) return "no more times";
  if (it.unfinished.length) return it.unfinished.length + " unfinished";
  return "";
}

function showSchedules(page) {
  $("schedules-card").hidden = !page.schedules.length;
  const due = (it) => (it.next_at && !it.paused ? Date.parse(it.next_at) : Infinity);
  const shown = [...page.schedules].sort((a, b) => !!b.problem - !!a.problem || due(a) - due(b) || (a.name < b.name ? -1 : 1)).slice(0, SCHEDULE_ROWS);
  fill("schedules", shown, (it) => it.name, (it) => it, (it) => [
    visible(it.name),
    visible(it.process_type),
    visible((it.definition.cron ? it.definition.cron : "every " + it.definition.every) + (it.definition.time_zone === "UTC" ? "" : ", " + it.definition.time_zone)),
    cell("nowrap", it.next_at && !it.paused ? clock(it.next_at) : "–"),
    cell("id", it.last_process_id ? link(it.last_process_id) : "–"),
    number.format(it.fired),
    number.format(it.skipped_missed + it.skipped_overlap + it.skipped_taken),
    it.problem ? error(it.problem) : scheduleNote(it),
  ]);
  const more = page.schedules.length - shown.length;
  setText("schedules-more", more > 0 || page.next ? "and " + number.format(more) + (page.next ? " or more" : "") + " others: process-orchestrator schedule list" : "");
}
