// ---- one process: its tasks, when they ran, what they printed

const OUTPUT_SHOWN_MAX = 262144;
// More tasks than this that have changed are asked for all at once.
const ASKED_ONE_BY_ONE_MAX = 4;
const ENDED = ["COMPLETED", "FAILED", "CANCELLED"];

let chosen = null; // {task, attempt}: whose output is shown; attempt null: the latest, or the one that runs
let shownOutput = null;
let known = { id: null, tasks: new Map(), executions: new Map() };

function forget() {
  chosen = null;
  shownOutput = null;
  known = { id: null, tasks: new Map(), executions: new Map() };
  setText("p-done", "");
}

async function showProcess(id) {
  const [process, tasks, state] = await Promise.all([ask(path(id)), askAll(path(id, "/tasks"), "tasks"), ask("/status")]);
  note(state, null);
  const executions = await executionsOf(id, tasks);
  const live = process.status === "IN_PROGRESS" ? (await ask(path(id, "/live"))).live : null;
  if (place().process !== id) return false;
  // Why it waits may be that its type is paused.
  if (!process.picked_by && !ENDED.includes(process.status)) types = await askAll("/process-types", "process_types");
  if (process.waits_for_limit) limits = await askAll("/limits", "limits");
  await nameNodes([process.picked_by, ...[...executions.values()].map((it) => it[it.length - 1].node)]);
  const at = process.picked_by ? tasks.find((it) => it.status === "IN_PROGRESS") : null;
  const running = at ? runOf(at, process, live, executions) : null;
  showFacts(process, tasks);
  showTimeline(process, tasks, executions, running);
  showTasks(process, tasks, executions, running);
  if (!chosen) chosen = firstChoice(tasks, executions, running);
  await showOutput(process, tasks, executions, running);
  rebuild("p-context", [id, process.process_context || null], (it) => { it.textContent = visible(exactly(process, "process_context")); });
  rebuild("p-input", [id, process.input_data || null], (it) => { it.textContent = visible(exactly(process, "input_data")); });
  return running !== null;
}

// Numbers as they were written, where the browser can tell: it would round long ones.
function exactly(document, key) {
  const written = (_, value, from) => (typeof value === "number" && from && JSON.rawJSON ? JSON.rawJSON(from.source) : value);
  if ((document.left_out || []).includes(key)) return "(larger than an answer may be: process-orchestrator show " + document.process_id + " --json)";
  return JSON.stringify(JSON.parse(document.text, written)[key], null, 2);
}

// Nodes are forgotten some days after their end: those are asked for once.
async function nameNodes(ids) {
  const unknown = ids.filter((id) => id && !names.has(id));
  if (!unknown.length) return;
  for (const it of (await ask("/nodes")).nodes) names.set(it.node_id, it.name);
  for (const id of unknown) if (!names.has(id)) names.set(id, id);
}

// A process may have thousands of executions: only those of tasks that have changed are asked for again.
async function executionsOf(id, tasks) {
  if (known.id !== id) known = { id, tasks: new Map(), executions: new Map() };
  const mine = known;
  const print = (it) => [it.status, it.attempt, it.updated_at].join(" ");
  const changed = tasks.filter((it) => it.attempt > 0 && mine.tasks.get(it.task_index) !== print(it));
  const ran = (task) => askAll(path(id, "/executions" + task), "executions");
  if (changed.length > ASKED_ONE_BY_ONE_MAX) {
    mine.executions = grouped(await ran(""));
  } else {
    for (const task of changed) {
      const found = await ran("?task=" + task.task_index);
      if (found.length) mine.executions.set(task.task_index, found);
    }
  }
  for (const task of changed) mine.tasks.set(task.task_index, print(task));
  return mine.executions;
}

function grouped(executions) {
  const groups = new Map();
  for (const it of executions) {
    if (!groups.has(it.task_index)) groups.set(it.task_index, []);
    groups.get(it.task_index).push(it);
  }
  return groups;
}

// The execution that runs now, as far as is known: its node shows it when it has run for a second or two.
function runOf(task, process, live, executions) {
  const shown = live && live.task_index === task.task_index ? live : null;
  const before = (executions.get(task.task_index) || []).slice(-1)[0];
  const started = shown ? shown.started_at : before && before.completed_at > task.started_at ? before.completed_at : task.started_at;
  return {
    task_index: task.task_index, attempt: shown ? shown.attempt : Math.max(task.attempt, before ? before.attempt + 1 : 1), outcome: "IN_PROGRESS",
    started_at: started, duration_ms: between(started) * 1000, cpu_ms: shown ? shown.cpu_ms : null, peak_memory_bytes: shown ? shown.memory_bytes : null,
    node: process.picked_by, output_bytes: shown ? shown.output_bytes : null, output: shown ? shown.output : "", updated_at: shown ? shown.updated_at : null, printed_at: shown ? shown.printed_at : null,
  };
}

function firstChoice(tasks, executions, running) {
  if (running) return { task: running.task_index, attempt: null };
  const failed = tasks.find((it) => it.status === "FAILED" && executions.has(it.task_index));
  const last = failed ? failed.task_index : Math.max(-1, ...executions.keys());
  return last >= 0 ? { task: last, attempt: null } : null;
}

function waitsFor(process) {
  if (process.picked_by || ENDED.includes(process.status)) return "";
  if (pausedTypes().includes(process.process_type)) return "its process type is paused";
  if (process.waits_for_limit) return limitOf(process);
  if (!process.execution_time) return "";
  const seconds = -(now() - Date.parse(process.execution_time)) / 1000;
  return seconds > 0 ? "due in " + wholeSeconds(seconds) + ", at " + clock(process.execution_time) : "due for " + wholeSeconds(-seconds) + ", waits for a free executor";
}

// Where a retry may go on from.
let retryable = [];

function showFacts(process, tasks) {
  setText("p-id", visible(process.process_id));
  const took = process.completed_at ? duration(between(process.started_at, process.completed_at)) : wholeSeconds(between(process.started_at));
  const facts = [
    ["Status", process.status],
    ["Waits", waitsFor(process)],
    ["Process type", visible(process.process_type)],
    ["Tasks", done(process) + " of " + process.total_tasks + " done" + (process.skipped_tasks ? ", " + process.skipped_tasks + " of them skipped" : "")],
    ["Node", process.picked_by ? nodeName(process.picked_by) : ""],
    ["Created", clock(process.created_at)],
    ["Started", clock(process.started_at)],
    ["Ended", clock(process.completed_at)],
    [process.completed_at ? "Took" : "Runs for", took],
    ["Priority", process.priority ? String(process.priority) : ""],
  ].filter(([, value]) => value !== "");
  rebuild("p-facts", facts, (it) => {
    const shown = (name, value) => (name === "Status" ? status(value) : value);
    const fresh = facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, shown(name, value))));
    const isSame = it.children.length === fresh.length && fresh.every((one, n) => one.firstChild.isEqualNode(it.children[n].firstChild));
    if (isSame) fresh.forEach((one, n) => renew(it.children[n].lastChild, one.lastChild));
    else it.replaceChildren(...fresh);
  });
  $("p-error").hidden = !process.error_message;
  setText("p-error", visible(process.error_message || ""));
  $("p-cancel").disabled = ENDED.includes(process.status);
  $("p-retry").disabled = $("p-from").disabled = !["FAILED", "CANCELLED"].includes(process.status);
  retryable = tasks;
  rebuild("p-from", [process.process_id, tasks.map((it) => it.name)], (it) => {
    const options = tasks.map((task) => element("option", { value: task.name }, "from " + visible(task.name)));
    it.replaceChildren(element("option", { value: "" }, "from the task that failed"), ...options);
  });
}

// ---- the timeline: a row for each task, a bar for each execution

const ROW = 24;
function showTimeline(process, tasks, executions, running) {
  const width = Math.max(280, Math.floor($("gantt-box").clientWidth));
  const moving = running ? Math.floor(now() / 1000) : 0;
  const facts = [process.process_id, width, moving, tasks.map((it) => [it.name, it.status, it.attempt, it.updated_at])];
  rebuild("gantt", facts, (svg) => drawTimeline(svg, width, process, tasks, executions, running));
}

function drawTimeline(svg, width, process, tasks, executions, running) {
  const bars = [...executions.values()].flat().map((it) => ({ ...it, from: Date.parse(it.started_at), to: Date.parse(it.completed_at) }));
  if (running) bars.push({ ...running, from: Date.parse(running.started_at), to: now() });
  // Bars begin where the longest name ends, within a third of the width.
  const chars = Math.max(4, Math.min(Math.floor(width / 3 / 7.5), ...[Math.max(...tasks.map((it) => it.name.length))]));
  const left = Math.round(chars * 7.5) + 12;
  const height = tasks.length * ROW + 20;
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const from = bars.reduce((least, it) => Math.min(least, it.from), Infinity);
  const to = bars.reduce((most, it) => Math.max(most, it.to), -Infinity);
  const span = Math.max(1, to - from);
  const scale = (width - left - 4) / span;
  const parts = [];
  tasks.forEach((task, i) => {
    const name = visible(task.name);
    parts.push(svgElement("text", { x: 0, y: i * ROW + 16 }, name.length > chars ? name.slice(0, chars - 1) + "…" : name));
    parts.push(svgElement("line", { x1: left, x2: width, y1: i * ROW + 12, y2: i * ROW + 12 }));
  });
  for (const bar of bars) {
    const long = Math.max(3, (bar.to - bar.from) * scale);
    const x = Math.min(left + (bar.from - from) * scale, width - long);
    const rect = svgElement("rect", { x, y: bar.task_index * ROW + 4, width: long, height: 16, rx: 2, class: "bar " + bar.outcome + (bar === bars[bars.length - 1] && running ? " live" : "") });
    const name = tasks[bar.task_index] ? visible(tasks[bar.task_index].name) : "";
    rect.append(svgElement("title", {}, name + ", attempt " + bar.attempt + ": " + bar.outcome + ", " + duration((bar.to - bar.from) / 1000)));
    parts.push(rect);
  }
  if (bars.length) {
    parts.push(svgElement("text", { x: left, y: height - 5 }, clock(from)));
    parts.push(svgElement("text", { x: width, y: height - 5, "text-anchor": "end" }, "+ " + duration(span / 1000)));
  }
  svg.replaceChildren(...parts);
}

// ---- the tasks, each with its latest execution

function showTasks(process, tasks, executions, running) {
  const latest = (task) => (running && running.task_index === task.task_index ? running : (executions.get(task.task_index) || []).slice(-1)[0]);
  const facts = (it) => [it.name, it.status, it.attempt, latest(it), Boolean(chosen && chosen.task === it.task_index), process.error_message, running === latest(it) && wholeSeconds(running ? running.duration_ms / 1000 : 0)];
  fill("tasks", tasks, (it) => process.process_id + " " + it.task_index, facts, (it) => {
    const last = latest(it);
    const own = ["FAILED", "WAITING_RETRY", "SKIPPED"].includes(it.status);
    const why = it.status === "WAITING_RETRY" ? "again " + clock(process.execution_time) + ": " : "";
    const state = cell("", status(it.status), last && last.exit_code ? " exit code " + last.exit_code : "", last && last.signal ? " signal " + last.signal : "");
    const is = Boolean(chosen && chosen.task === it.task_index);
    const size = last && last.output_bytes !== null ? bytes(last.output_bytes) : "…";
    const show = element("button", { type: "button", "aria-pressed": String(is), "aria-label": size + ", show the output of " + visible(it.name) }, size);
    show.addEventListener("click", () => choose(it.task_index, null));
    return [
      visible(it.task_index + 1 + ". " + it.name),
      state,
      String(it.attempt || ""),
      cell("nowrap", last ? clock(last.started_at) : ""),
      cell("nowrap", last ? duration(last === running ? Math.floor(last.duration_ms / 1000) : last.duration_ms / 1000) : ""),
      cell("nowrap", usage(last)),
      last ? nodeName(last.node) : "",
      last ? show : "",
      error(own ? why + untold(process, it.error_message || (last && last.error_message)) : ""),
    ];
  });
}

// What the process's own error tells is not told again.
const untold = (process, error) => (!error || (process.error_message || "").includes(error) ? "" : error);

function usage(execution) {
  if (!execution) return "";
  const cpu = execution.cpu_ms === null || execution.cpu_ms === undefined ? "" : duration(execution.cpu_ms / 1000);
  return [cpu, bytes(execution.peak_memory_bytes)].filter(Boolean).join(", ");
}

function choose(task, attempt) {
  chosen = { task, attempt };
  $("output-card").hidden = false;
  $("output-card").scrollIntoView({ block: "nearest" });
  soon();
}

// ---- the output of one execution

async function showOutput(process, tasks, executions, running) {
  const id = process.process_id;
  const card = $("output-card");
  const task = chosen ? tasks[chosen.task] : null;
  card.hidden = !task;
  if (!task) return;
  const ran = executions.get(task.task_index) || [];
  const isRunning = running && running.task_index === task.task_index && (chosen.attempt === null || chosen.attempt === running.attempt);
  const one = isRunning ? running : chosen.attempt === null ? ran[ran.length - 1] : ran.find((it) => it.attempt === chosen.attempt);
  showAttempts(task, ran, running && running.task_index === task.task_index ? running : null, one);
  setText("h-output", "Output of " + visible(task.name));
  if (!one) { setText("output-command", visible(task.command)); setText("output-note", "It has not run yet."); setText("output", ""); shownOutput = null; return; }
  // The task's row has its latest error, the process's is above.
  const row = tasks[chosen.task].error_message || "";
  const why = row === one.error_message ? "" : untold(process, one.error_message);
  setText("output-of", "Attempt " + one.attempt + ": " + one.outcome + (why ? ": " + visible(why) : ""));
  if (isRunning) {
    shownOutput = null;
    setText("output-command", visible(task.command));
    const from = one.output_bytes === null ? "" : "The end of " + bytes(one.output_bytes) + ", as of " + clock(one.updated_at) + silence(one.printed_at);
    printOutput(one.output, from || "What it prints is shown when it has run for a second or two.", one.output ? "" : one.updated_at ? "(nothing so far)" : "");
    return;
  }
  const key = [id, one.task_index, one.attempt, one.completed_at].join(" ");
  if (shownOutput === key) return;
  const whole = await wholeOf(path(id, "/executions?task=" + one.task_index + "&attempt=" + one.attempt));
  if (!whole || place().process !== id) return;
  shownOutput = key;
  setText("output-command", visible(whole.command || task.command));
  printOutput(whole.output || "", bytes(whole.output_bytes) + " printed", whole.output_deleted ? "(deleted)" : "(nothing)", "process-orchestrator logs " + id + " " + task.name + " --attempt " + one.attempt);
}

// A large output comes in parts. The end of it is shown, and one character more tells that it is only that.
async function wholeOf(path) {
  const whole = (await ask(path)).executions[0];
  for (let part = whole; part && part.output_next !== undefined; ) {
    part = (await ask(path + "&offset=" + part.output_next)).executions[0];
    whole.output = (whole.output + (part ? part.output : "")).slice(-OUTPUT_SHOWN_MAX - 1);
  }
  return whole;
}

// Many programs hold back what they print to a pipe.
function silence(printedAt) {
  const seconds = since(printedAt);
  return seconds === null || seconds < 30 ? "" : ", nothing new for " + wholeSeconds(seconds) + " (output may be buffered: PYTHONUNBUFFERED=1, stdbuf -oL)";
}

function printOutput(text, note, empty, rest) {
  const cut = text.length > OUTPUT_SHOWN_MAX;
  setText("output-note", note + (cut ? "; the end is shown, all of it: " + visible(rest || "") : ""));
  const output = $("output");
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
  setText("output", plain(cut ? text.slice(-OUTPUT_SHOWN_MAX) : text) || empty);
  if (atEnd) output.scrollTop = output.scrollHeight;
}

function showAttempts(task, ran, running, one) {
  const all = running ? [...ran, running] : ran;
  $("attempts").hidden = all.length < 2;
  rebuild("attempts", [task.task_id, all.map((it) => [it.attempt, it.outcome]), one ? one.attempt : 0], (select) => {
    const options = all.map((it) => element("option", { value: String(it.attempt) }, it.attempt + ": " + it.outcome + (it.completed_at ? ", " + clock(it.started_at) + ", " + duration(it.duration_ms / 1000) : "")));
    $("attempt").replaceChildren(...options);
    if (one) $("attempt").value = String(one.attempt);
  });
}
$("attempt").addEventListener("change", () => choose(chosen.task, Number($("attempt").value)));

// ---- orders

async function give(what, body, said) {
  const id = place().process;
  if (!id) return;
  // The click goes on once there is a token.
  if (!sessionStorage.getItem("token")) { openToken(() => { if (place().process === id) give(what, body, said); }); return; }
  setText("p-done", "…");
  try {
    setText("p-done", visible(said(await order(path(id, "/" + what), body))));
  } catch (problem) {
    setText("p-done", visible(problem.message));
  }
  soon();
}

const CANCELLED = { CANCELLED: "Cancelled.", REQUESTED: "Its node has been told: it ends the command.", FINISHED: "It had ended before." };
$("p-cancel").addEventListener("click", () => {
  if (!confirm("Cancel " + visible(place().process) + "? Its running command is ended.")) return;
  give("cancel", { reason: "on the status page" }, (it) => CANCELLED[it.outcome] || it.outcome);
});
$("p-retry").addEventListener("click", () => {
  const from = $("p-from").value;
  const place = retryable.findIndex((it) => it.name === from);
  const skipped = retryable.slice(0, Math.max(0, place)).filter((it) => !["COMPLETED", "SKIPPED"].includes(it.status));
  const names = skipped.map((it) => visible(it.name)).join(", ");
  if (names && !confirm("Not completed: " + names + ". Skip what is not, and go on from " + visible(from) + "?")) return;
  give("retry", from ? { from_task: from, skip: Boolean(names) } : {}, (it) => "It goes again from " + it.from_task + ".");
});

let afterToken = null;
function openToken(then) {
  const dialog = $("token-dialog");
  afterToken = then;
  dialog.returnValue = "";
  $("token").value = sessionStorage.getItem("token") || "";
  dialog.showModal();
}
$("token-button").addEventListener("click", () => openToken(null));
$("token-dialog").addEventListener("close", () => {
  const [token, wish, then] = [$("token").value.trim(), $("token-dialog").returnValue, afterToken];
  $("token").value = "";
  afterToken = null;
  if (wish === "forget") sessionStorage.removeItem("token");
  if (wish === "keep" && token) sessionStorage.setItem("token", token);
  showToken();
  if (wish === "keep" && token && then) then();
});
const showToken = () => setText("token-button", sessionStorage.getItem("token") ? "Token ✓" : "Token…");

