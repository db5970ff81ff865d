// ---- the first view: is it healthy, what runs, what failed, how fast, how long till the queue is empty

const GRAPH_MS = 600000;
// A rate is over half a minute, one poll alone jumps; over all that was seen where fewer than this have ended.
const RATE_MS = 30000;
const RATE_ENDED_MIN = 20;
const LIST_ROWS = 25;
const RUNNING_ROWS = 8;
// Newest first come some that wait for a retry: more are asked for while too few of them run.
const RUNNING_ASKED = [50, 500];
let runningAsked = RUNNING_ASKED[0];
const FAILED_ROWS = 5;
const HOUR_MS = 3600000;
// Due processes that wait so long while nothing runs are stuck.
const STUCK_S = 60;
const LIVING = ["RUNNING", "STOPPING"];
// Of nodes that have ended in the last hour.
const ENDED_NODE_ROWS = 3;

const points = [];

function notePoint(state) {
  const { COMPLETED, FAILED, CANCELLED } = state.processes;
  const point = { at: Date.parse(state.as_of), ended: COMPLETED + FAILED + CANCELLED, failed: FAILED };
  const last = points[points.length - 1];
  if (last && point.at <= last.at) return;
  // History was deleted, or some were retried: what was counted before says nothing now.
  if (last && point.ended < last.ended) points.length = 0;
  points.push(point);
  while (points[0].at < point.at - GRAPH_MS) points.shift();
}

function rateBetween(from, to) {
  const seconds = (to.at - from.at) / 1000;
  return seconds > 0 ? (to.ended - from.ended) / seconds : 0;
}

function rateNow() {
  if (points.length < 2) return null;
  const last = points[points.length - 1];
  const from = points.find((it) => it.at >= last.at - RATE_MS);
  return rateBetween(last.ended - from.ended < RATE_ENDED_MIN ? points[0] : from, last);
}

function showGraph() {
  const rates = points.slice(1).map((point, i) => ({ at: point.at, rate: rateBetween(points[Math.max(0, i - 2)], point) }));
  const most = Math.max(0, ...rates.map((it) => it.rate));
  const end = points.length ? points[points.length - 1].at : 0;
  const x = (at) => (600 - ((end - at) / GRAPH_MS) * 600).toFixed(1);
  const y = (rate) => (88 - (rate / Math.max(most, 0.1)) * 84).toFixed(1);
  const line = rates.map((it) => "L" + x(it.at) + "," + y(it.rate)).join(" ");
  document.querySelector("#graph path").setAttribute("d", rates.length ? "M" + x(rates[0].at) + ",88 " + line + " L600,88 Z" : "");
  const watched = points.length > 1 ? (end - points[0].at) / 1000 : 0;
  setText("graph-most", watched ? "The most: " + number.format(most) + " per second, seen in " + wholeSeconds(watched) + ". Ten minutes from left to right." : "It is drawn while this page is open.");
}

// ---- health: the worst of what is known, as a sentence

function healthOf(state, nodes) {
  const alive = state.nodes.filter((it) => it.state === "RUNNING");
  if (state.node && state.node.problem) return ["bad", state.node.problem];
  if (!state.nodes.length) return ["bad", "no node is running"];
  if (!alive.length) return ["bad", "all nodes are stopping"];
  if (state.oldest_due_age_seconds > STUCK_S && state.picked === 0 && !pausedTypes().length) return ["bad", "due processes wait and nothing runs"];
  // Both are of the moment of counting.
  const silent = alive.find((it) => between(it.last_heartbeat, state.as_of) > it.dead_after_seconds);
  if (silent) return ["bad", "node " + silent.name + " is silent since " + clock(silent.last_heartbeat)];
  const dead = (nodes || []).find((it) => it.state === "DEAD" && since(it.last_heartbeat) < HOUR_MS / 1000 && !alive.some((other) => other.name === it.name));
  if (dead) return ["warn", "node " + dead.name + " died at " + clock(dead.last_heartbeat)];
  if (state.unreadable && state.unreadable.length) return ["warn", state.unreadable[0]];
  return ["good", "healthy"];
}

function showHealth(state, nodes) {
  const [is, text] = healthOf(state, nodes);
  setText("health", visible(text));
  $("health").dataset.is = is;
  setText("place", state.node ? visible(state.node.name) + ", version " + state.version : "version " + state.version);
  const here = place().process;
  document.title = (is === "good" ? "" : "⚠ ") + (here ? visible(here) + " · " : "") + "Process Orchestrator";
}

// What every view learns from /status.
function note(state, nodes) {
  noteClock(state.as_of);
  notePoint(state);
  showHealth(state, nodes);
  setText("as-of", "As of " + clock(state.as_of) + ".");
}

function showTiles(state) {
  const counts = state.processes;
  const later = Math.max(0, state.queue_depth - state.due);
  setText("n-running", number.format(state.picked));
  const executors = state.nodes.reduce((sum, it) => sum + it.executors, 0);
  setText("n-busy", "on " + number.format(executors) + (executors === 1 ? " executor" : " executors"));
  setText("n-due", number.format(state.due));
  setText("n-oldest", state.oldest_due_age_seconds === null ? "" : "the oldest for " + wholeSeconds(Math.max(0, state.oldest_due_age_seconds)));
  setText("n-later", number.format(Math.max(0, later - state.waiting_for_limits)));
  setText("n-limited", state.waiting_for_limits ? "besides, " + number.format(state.waiting_for_limits) + " wait for limits" : "retries, start times");
  setText("n-completed", number.format(counts.COMPLETED));
  setText("n-failed", number.format(counts.FAILED));
  $("n-failed").classList.toggle("error", counts.FAILED > 0);
  const news = counts.FAILED - points[0].failed;
  setText("n-cancelled", [news > 0 ? "+" + number.format(news) + " since " + clock(points[0].at) : "", counts.CANCELLED ? number.format(counts.CANCELLED) + " cancelled" : ""].filter(Boolean).join(", "));
  const rate = rateNow();
  setText("n-rate", rate === null ? "–" : rate > 0 && rate < 0.1 ? number.format(rate * 60) + " a minute" : number.format(rate));
  const left = counts.NOT_STARTED + counts.IN_PROGRESS;
  setText("n-eta", !left ? "all have ended" : rate > 0 ? "all ended in " + (later ? "at least " : "about ") + wholeSeconds(left / rate) : rate === null ? "" : "none has ended lately");
}

// Node ids are long; people know nodes by their names.
const names = new Map();
const nodeName = (id) => visible(names.get(id) || id || "");

function showNodes(state, all) {
  for (const it of all) names.set(it.node_id, it.name);
  const ended = all.filter((it) => !LIVING.includes(it.state) && since(it.last_heartbeat) < HOUR_MS / 1000);
  const shown = [...all.filter((it) => LIVING.includes(it.state)), ...ended.slice(0, ENDED_NODE_ROWS)];
  const own = state.node ? state.node.node_id : "";
  // By name, so that rows keep their places.
  fill("nodes", shown.sort((a, b) => LIVING.includes(b.state) - LIVING.includes(a.state) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)), (it) => it.node_id, (it) => [it, it.node_id === own ? state.node.busy : 0, wholeSeconds(since(it.last_heartbeat))], (it) => [
    visible(it.name + (it.host !== it.name ? " on " + it.host : "")) + (it.node_id === own ? " (this one)" : ""),
    cell("", status(it.state)),
    it.node_id === own ? state.node.busy + " of " + it.executors + " busy" : String(it.executors),
    cell("nowrap", wholeSeconds(since(it.last_heartbeat)) + " ago"),
    cell("nowrap", clock(it.started_at)),
    visible(it.version),
  ]);
}

// ---- batches, the newest that have not ended and the latest that have

const BATCH_ROWS = 8;

const REASONS_SHOWN = 3;
// Why those of a batch have failed, and when it was asked for: a list of batches does not tell it.
const failuresOf = new Map();

async function askFailures(batch) {
  const known = failuresOf.get(batch.name);
  if (known && known.failed === batch.failed) return;
  const failures = batch.failed ? (await ask("/batches/" + encodeURIComponent(batch.name))).failures : [];
  failuresOf.set(batch.name, { failed: batch.failed, failures });
}

async function showBatches(batches) {
  const open = batches.filter((it) => !it.ended_at);
  const shown = [...open, ...batches.filter((it) => it.ended_at)].slice(0, BATCH_ROWS);
  // One that was forgotten meanwhile is told without its reasons.
  await Promise.all(shown.map((it) => askFailures(it).catch(() => {})));
  for (const name of failuresOf.keys()) if (!shown.some((it) => it.name === name)) failuresOf.delete(name);
  const whyOf = (it) => (failuresOf.get(it.name) || { failures: [] }).failures.slice(0, REASONS_SHOWN);
  $("batches-card").hidden = !shown.length;
  fill("batches", shown, (it) => it.name, (it) => [it, whyOf(it)], (it) => {
    const bar = element("progress", { max: String(Math.max(it.total, 1)), value: String(it.ended), "aria-label": it.ended + " of " + it.total + " have ended" });
    return [
      element("a", { href: "#/?batch=" + encodeURIComponent(it.name) }, visible(it.name)),
      cell("", status(it.state)),
      cell("nowrap", bar, " " + number.format(it.ended) + " of " + number.format(it.total)),
      number.format(it.failed),
      it.rate_per_s === null ? "" : number.format(it.rate_per_s),
      cell("nowrap", it.eta_s === null ? "" : wholeSeconds(it.eta_s)),
      cell("wide", it.reason ? element("div", {}, visible(it.reason)) : "", ...whyOf(it).map((why) => element("div", { class: "error" }, number.format(why.count) + " × " + visible(why.reason)))),
    ];
  });
}

// ---- limits

let limits = [];
const LIMIT_ROWS = 20;

// Those for which something waits come first, and keep their places by their names.
function showLimits(all) {
  limits = all;
  const shown = [...all].sort((a, b) => (b.waiting > 0) - (a.waiting > 0) || (a.name < b.name ? -1 : 1)).slice(0, LIMIT_ROWS);
  $("limits-card").hidden = !all.length;
  fill("limits", shown, (it) => it.name, (it) => [it, wholeSeconds(since(it.waiting_since))], (it) => [
    cell("id", visible(it.name)),
    it.max === null ? "no bound" : number.format(it.max),
    number.format(it.taken),
    number.format(it.waiting),
    cell("nowrap", wholeSeconds(since(it.waiting_since))),
    cell("wide", visible(limitNote(it))),
  ]);
  setText("limits-more", all.length > shown.length ? "and " + number.format(all.length - shown.length) + " more: process-orchestrator limits list" : "");
}

function limitNote(it) {
  return [it.is_paused ? "paused" : "", it.is_set ? "set" + (it.changed_by ? " by " + it.changed_by : "") : "", it.keys_waiting > 1 ? number.format(it.keys_waiting) + " keys wait" : ""].filter(Boolean).join(", ");
}

// The limit that a process waits for, with its max where it is known.
function limitOf(process) {
  const entry = process.waits_for_limit;
  if (!entry) return "";
  const known = limits.find((it) => it.name === entry.split("=")[0]);
  return "limit " + visible(entry) + (known && known.max !== null ? " (max " + number.format(known.max) + ")" : "");
}

// ---- process types

let types = [];
const pausedTypes = () => types.filter((it) => it.paused).map((it) => it.name);

// The name of the task at work, where the type tells it for sure: it has not changed since the process was started.
function taskName(process) {
  const type = types.find((it) => it.name === process.process_type && Date.parse(it.updated_at) <= Date.parse(process.created_at));
  const task = type && type.definition && type.definition.tasks && type.definition.tasks[process.current_task_index];
  return task && task.name ? visible(task.name) + ", " : "";
}

function showTypes() {
  const paused = pausedTypes();
  $("paused").hidden = !paused.length;
  setText("paused", "Paused, none of their processes begins another task: " + visible(paused.join(", ")));
  rebuild("filter-type", types.map((it) => it.name), (select) => {
    const wanted = ["", ...types.map((it) => it.name)];
    const chosen = select.value || (place().list ? place().list.get("type") : "") || "";
    if (!wanted.includes(chosen)) wanted.push(chosen);
    select.replaceChildren(...wanted.map((name) => element("option", { value: name }, name ? visible(name) : "all")));
    select.value = chosen;
  });
}

// ---- lists

const done = (it) => (it.status === "COMPLETED" ? it.total_tasks : it.current_task_index);

function showRunning(found, picked) {
  const running = found.filter((it) => it.picked_by);
  if (running.length < Math.min(RUNNING_ROWS, picked)) runningAsked = RUNNING_ASKED[1];
  if (!picked) runningAsked = RUNNING_ASKED[0];
  const shown = running.slice(0, RUNNING_ROWS);
  fill("running", shown, (it) => it.process_id, (it) => [it.process_id, it.current_task_index, wholeSeconds(since(it.started_at)), nodeName(it.picked_by), taskName(it)], (it) => [
    cell("id", link(it.process_id)),
    taskName(it) + (it.current_task_index + 1) + " of " + it.total_tasks,
    cell("nowrap", wholeSeconds(since(it.started_at))),
    nodeName(it.picked_by),
  ]);
  const more = Math.max(picked, running.length) - shown.length;
  setText("running-more", more > 0 && shown.length ? "and " + number.format(more) + " more" : "");
  if (!shown.length && picked) { $("running-none").hidden = true; setText("running-more", number.format(picked) + " run: see the list below"); }
}

function showFailed(found) {
  const shown = [...found].sort((a, b) => Date.parse(b.completed_at) - Date.parse(a.completed_at)).slice(0, FAILED_ROWS);
  fill("failed", shown, (it) => it.process_id, (it) => [it.process_id, it.completed_at, it.error_message], (it) => [
    cell("id", link(it.process_id)),
    cell("nowrap", clock(it.completed_at)),
    error(it.error_message),
  ]);
}

// What an unfinished process waits for, or why one has failed.
function noteOf(it) {
  return [it.skipped_tasks ? it.skipped_tasks + " skipped" : "", stateNote(it)].filter(Boolean).join(", ");
}

function stateNote(it) {
  if (it.completed_at) return it.error_message ? visible(it.error_message) : "";
  if (it.picked_by) return "on " + nodeName(it.picked_by);
  if (pausedTypes().includes(it.process_type)) return "its type is paused";
  if (it.waits_for_limit) return "waits for " + limitOf(it);
  const later = it.execution_time && Date.parse(it.execution_time) > now();
  if (!later) return "waits for a free executor";
  return (it.started_at ? "again " : "due ") + clock(it.execution_time);
}

const NO_PROCESS = "There is no process yet. Start one: process-orchestrator run FILE --input-file …, or process-orchestrator start TYPE for a node to run.";

function showList(list, filters) {
  fill("list", list.processes, (it) => it.process_id, (it) => [it.process_id, it.status, it.current_task_index, noteOf(it), it.completed_at || wholeSeconds(since(it.started_at))], (it) => [
    cell("id", link(it.process_id)),
    visible(it.process_type),
    cell("", status(it.status)),
    cell("nowrap", done(it) + " of " + it.total_tasks),
    cell("nowrap", clock(it.created_at)),
    cell("nowrap", it.completed_at ? duration(between(it.started_at, it.completed_at)) : wholeSeconds(between(it.started_at))),
    cell("wide" + (it.error_message ? " error" : ""), element("div", { class: "clamp" }, noteOf(it))),
  ]);
  const trouble = list.trouble || (list.unreadable || []).join("; ");
  const none = filters.toString() ? "No process is like that: change the filters." : NO_PROCESS;
  setText("list-none", trouble ? visible(trouble) : none);
  $("list-none").classList.toggle("error", Boolean(trouble));
  if (trouble) $("list-none").hidden = false;
  $("older").disabled = !list.next;
  $("older").dataset.after = list.next || "";
  $("newest").disabled = !filters.get("after");
}

// The hour stays the same for an hour: an answer that has not changed is not sent again.
const aDayAgo = () => new Date(Math.floor(now() / HOUR_MS) * HOUR_MS - 24 * HOUR_MS).toISOString();
// What is wrong with the filters is told at the list; the rest goes on.
const refusedList = (told) => {
  if (told instanceof Refused && told.code < 500) return { processes: [], next: null, trouble: told.message };
  throw told;
};

// Each part is shown when its answer is there: the numbers do not wait for the lists.
async function showOverview(filters) {
  const query = new URLSearchParams(filters);
  query.set("limit", String(LIST_ROWS));
  const knows = askAll("/process-types", "process_types").then((it) => { types = it; showTypes(); });
  const counted = Promise.all([ask("/status"), ask("/nodes")]).then(([state, all]) => {
    showNodes(state, all.nodes);
    note(state, all.nodes);
    showTiles(state);
    showGraph();
    return state;
  });
  const batches = ask("/batches?limit=50").then((it) => showBatches(it.batches));
  const limited = askAll("/limits", "limits").then(showLimits);
  const running = ask("/processes?status=IN_PROGRESS&limit=" + runningAsked);
  const schedules = ask("/schedules").then(showSchedules);
  const failed = ask("/processes?status=FAILED&limit=50&finished_since=" + aDayAgo()).then((it) => showFailed(it.processes));
  const listed = ask("/processes?" + query).catch(refusedList).then((it) => {
    if (place().list && place().list.toString() === filters.toString()) showList(it, filters);
  });
  const all = await Promise.all([counted, running, knows, failed, listed, batches, limited, schedules]);
  showRunning(all[1].processes, all[0].picked);
}

