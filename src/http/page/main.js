// ---- the list's filters live in the address, so that a link leads to what is seen

const TIMES = ["started_since", "finished_since"];
const local = (time) => {
  const date = new Date(time);
  return isNaN(date) ? "" : new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

function showFilters() {
  const filters = place().list;
  if (!filters) return;
  const fields = $("filters").elements;
  fields.status.value = filters.get("status") || "";
  const type = filters.get("type") || "";
  if (type && ![...fields.type.options].some((it) => it.value === type)) fields.type.append(element("option", { value: type }, visible(type)));
  fields.type.value = type;
  fields.node.value = filters.get("node") || "";
  for (const name of TIMES) fields[name].value = filters.get(name) ? local(filters.get(name)) : "";
  const metadata = [...filters].filter(([name]) => name.startsWith("metadata."));
  fields.metadata.value = metadata.map(([name, value]) => name.slice("metadata.".length) + "=" + value).join("\n");
  if (["node", ...TIMES].some((name) => filters.get(name)) || metadata.length) $("more").open = true;
}

$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = $("filters").elements;
  const id = fields.id.value.trim();
  if (id) { fields.id.value = ""; location.hash = "/p/" + encodeURIComponent(id); return; }
  const filters = new URLSearchParams();
  for (const name of ["status", "type", "node"]) if (fields[name].value.trim()) filters.set(name, fields[name].value.trim());
  for (const name of TIMES) if (fields[name].value) filters.set(name, new Date(fields[name].value).toISOString());
  for (const pair of fields.metadata.value.split("\n").filter((it) => it.trim())) {
    const [key, ...value] = pair.split("=");
    filters.set("metadata." + key.trim(), value.join("="));
  }
  go(filters);
});

function go(filters) {
  const query = filters.toString();
  location.hash = query ? "/?" + query : "/";
}

function turnTo(after) {
  const filters = place().list || new URLSearchParams();
  if (after) filters.set("after", after);
  else filters.delete("after");
  go(filters);
}
$("older").addEventListener("click", () => turnTo($("older").dataset.after));
$("newest").addEventListener("click", () => turnTo(""));

// ---- the loop: one round at a time, none while nobody looks, slower while nobody answers

let timer = 0;
let failures = 0;
let rounds = 0;
let busy = false;
let again = false;

async function round() {
  clearTimeout(timer);
  if (busy) { again = true; return; }
  busy = true;
  let wait = POLL_MS;
  try {
    const here = place();
    if (here.process !== undefined) {
      if (await showProcess(here.process)) wait = POLL_LIVE_MS;
    } else {
      await showOverview(here.list);
    }
    failures = 0;
    $("trouble").hidden = true;
  } catch (problem) {
    failures += 1;
    tell(problem);
  }
  // A rate needs two looks: the second one comes soon.
  rounds += 1;
  if (rounds === 1) wait = POLL_LIVE_MS;
  busy = false;
  if (again) { again = false; round(); return; }
  if (!document.hidden) timer = setTimeout(round, Math.min(wait * 2 ** Math.min(failures, 4), POLL_MS_MAX));
}

function tell(problem) {
  const isAnswer = problem instanceof Refused;
  $("trouble").hidden = false;
  setText("trouble", visible(isAnswer ? problem.message : "This node does not answer (" + problem.message + "). What is shown is as of then; it is asked again."));
  if (isAnswer && problem.code < 500) return;
  setText("health", isAnswer ? "the database can't be asked" : "no answer");
  $("health").dataset.is = "bad";
  document.title = "⚠ Process Orchestrator";
}

function soon() { clearTimeout(timer); round(); }

let view = null;
function arrive(isFirst) {
  const here = place().process;
  const [before, changed] = [view, view !== (here === undefined ? "" : here)];
  view = here === undefined ? "" : here;
  $("overview").hidden = here !== undefined;
  $("process").hidden = here === undefined;
  $("trouble").hidden = true;
  showFilters();
  if (changed) {
    forget();
    // What another process has shown is no answer to this one.
    for (const id of ["p-id", "p-error", "output", "output-of"]) setText(id, "");
    if (here !== undefined) setText("p-id", visible(here));
    for (const id of ["tasks", "p-facts", "gantt", "p-context", "p-input"]) { $(id).replaceChildren(); built.delete(id); }
    for (const id of ["p-cancel", "p-retry", "p-from"]) $(id).disabled = true;
    $("output-card").hidden = $("p-error").hidden = true;
    if (!isFirst) { scrollTo(0, 0); focusAfter(before, here); }
  }
  soon();
}

// Who came by keyboard is where the new view begins, or back at the process that was looked at.
function focusAfter(before, here) {
  const back = here === undefined && before ? [...document.querySelectorAll("#overview a")].find((it) => it.getAttribute("href") === "#/p/" + encodeURIComponent(before)) : null;
  (back || $(here === undefined ? "h-list" : "p-id")).focus({ preventScroll: !back });
}

addEventListener("hashchange", () => arrive(false));
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(soon, 200); });
showToken();
arrive(true);
