// Fills the page from the service's own API. Everything shown is set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const find = (id) => document.getElementById(id);

function make(tag, attributes = {}, text = "") {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.textContent = text;
  return one;
}

function draw(tag, attributes, text = "") {
  const one = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.textContent = text;
  find("plot").append(one);
}

async function ask(path, body) {
  const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok && answer.error) throw new Error(answer.error.message);
  return answer;
}

const latencyAt = (variant, count) => variant.report.latency.find((one) => one.candidates === count);
const size = (bytes) => (bytes >= 1e5 ? `${(bytes / 1e6).toFixed(2)} MB` : `${(bytes / 1e3).toFixed(1)} kB`);

function showVariants({ variants, unreadable }, counts) {
  const table = find("variants");
  const head = make("tr");
  const timed = counts.map((count) => `ms at ${count.toLocaleString("en")}`);
  const titles = ["variant", "verdict", "size", "smaller", "AUC", "NDCG@10", ...timed, "faster"];
  head.append(...titles.map((title) => make("th", { scope: "col" }, title)));
  const rows = variants.map((variant) => {
    const { quality, size: bytes } = variant.report;
    const times = counts.map((count) => latencyAt(variant, count));
    const last = times.at(-1);
    const row = make("tr");
    row.append(
      make("td", {}, variant.name + (variant.active ? "" : " (not active)")),
      make("td", { class: variant.verdict }, variant.verdict),
      make("td", {}, size(bytes.artifact_bytes)),
      make("td", {}, `${bytes.compression_ratio.toFixed(1)}x`),
      make("td", {}, quality ? quality.auc.value.toFixed(4) : "-"),
      make("td", {}, quality?.ndcg_at_10 ? quality.ndcg_at_10.value.toFixed(4) : "-"),
      ...times.map((one) => make("td", {}, one ? one.p50_ms.toFixed(3) : "-")),
      make("td", {}, last ? `${last.speedup.toFixed(1)}x` : "-"),
    );
    return row;
  });
  for (const name of Object.keys(unreadable)) {
    const row = make("tr");
    row.append(make("td", {}, name), make("td", { class: "rejected" }, "unreadable"));
    row.append(...titles.slice(2).map(() => make("td", {}, "-")));
    rows.push(row);
  }
  table.replaceChildren(...(rows.length ? [head, ...rows] : []));
  const reasons = [...variants.map((one) => [one.name, one.reason]), ...Object.entries(unreadable)];
  find("reasons").replaceChildren(...reasons.map(([name, reason]) => make("li", {}, `${name}: ${reason}.`)));
}

function showPlot(variants, count) {
  const shown = variants.filter((one) => one.report.quality && latencyAt(one, count));
  find("figure").hidden = !shown.length;
  find("plot").replaceChildren();
  if (!shown.length) return;
  find("count").textContent = count.toLocaleString("en");
  const [left, right, top, bottom] = [60, 600, 70, 265];
  const times = shown.map((one) => Math.log10(latencyAt(one, count).p50_ms));
  const lows = shown.map((one) => one.report.quality.auc.low);
  const highs = shown.map((one) => one.report.quality.auc.high);
  const [t0, t1] = [Math.floor(Math.min(...times)), Math.ceil(Math.max(...times) + 1e-9)];
  const [q0, q1] = [Math.min(...lows), Math.max(...highs)];
  const x = (time) => left + ((time - t0) / (t1 - t0)) * (right - left);
  const y = (auc) => bottom - ((auc - q0) / (q1 - q0 || 1)) * (bottom - top);
  draw("line", { class: "axis", x1: left, y1: bottom, x2: right, y2: bottom });
  draw("line", { class: "axis", x1: left, y1: top, x2: left, y2: bottom });
  for (let power = t0; power <= t1; power += 1) {
    draw("text", { class: "tick", x: x(power), y: bottom + 18, "text-anchor": "middle" }, `${10 ** power} ms`);
  }
  for (const auc of [q0, (q0 + q1) / 2, q1]) {
    draw("text", { class: "tick", x: left - 8, y: y(auc) + 4, "text-anchor": "end" }, auc.toFixed(3));
  }
  const byTime = [...shown.keys()].sort((a, b) => times[a] - times[b]);
  byTime.forEach((position, place) => {
    const one = shown[position];
    const { auc } = one.report.quality;
    const at = x(times[position]);
    // Names of neighbours stand in different rows above, so that they can be read.
    const row = 14 + (place % 4) * 15;
    draw("line", { class: "axis", x1: at, x2: at, y1: row + 4, y2: y(auc.high) });
    draw("text", { x: at, y: row, "text-anchor": "middle" }, one.name);
    draw("line", { class: "bar", x1: at, x2: at, y1: y(auc.low), y2: y(auc.high) });
    draw("circle", { class: `dot ${one.verdict}`, cx: at, cy: y(auc.value), r: 6 });
  });
}

function showChoices(variants) {
  const names = ["auto", ...variants.filter((one) => one.active).map((one) => one.name)];
  find("variant").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
}

function showAll(found) {
  const { variants } = found;
  // Empty before the first variant is published. Others may have been timed at other sizes than the first.
  const counts = variants.length ? variants[0].report.latency.map((one) => one.candidates) : [];
  showVariants(found, counts);
  showPlot(variants, counts.at(-1));
  showChoices(variants);
}

// What can be told of a model is shown even where the rest cannot: its active state may be damaged while it ranks.
async function showModel(name) {
  showAll({ variants: [], unreadable: {} });
  for (const id of ["about", "answer", "items"]) find(id).replaceChildren();
  find("status").textContent = "Asking the service …";
  const [about, found] = await Promise.allSettled([
    ask(`v1/models/${encodeURIComponent(name)}`),
    ask(`v1/models/${encodeURIComponent(name)}/variants`),
  ]);
  if (find("model").value !== name) return; // another one was chosen meanwhile
  if (found.status === "fulfilled") showAll(found.value);
  for (const one of [about, found]) if (one.status === "rejected") throw one.reason;
  const model = about.value;
  find("about").textContent = [model.title, model.description].filter(Boolean).join(": ");
  find("try").dataset.userKey = model.user_key ?? "user_id";
  const { kind, variant, canary } = model.policy;
  const most = kind === "pinned" ? `${variant}, to which it is pinned` : "the best that passed and can keep the deadline";
  const policy = canary ? `${most}, and for ${canary.percent}% of the users ${canary.variant}` : most;
  find("status").textContent = model.ready
    ? `${name} is ready: ${model.variants.length} variants loaded, auto takes ${policy}.`
    : `${name} is not ready yet; its first compression may be under way. Load the page again in a while.`;
}

async function recommend() {
  const form = find("try");
  const model = find("model").value;
  const user = find("user").value.trim();
  const body = {
    user: user ? { [form.dataset.userKey ?? "user_id"]: user } : {},
    k: Number(find("k").value),
    variant: find("variant").value,
  };
  try {
    const answer = await ask(`v1/models/${encodeURIComponent(model)}/recommend`, body);
    if (find("model").value !== model) return; // another one was chosen meanwhile
    const who = answer.unknown_user ? "an unknown user" : `user ${user}`;
    find("answer").textContent = `For ${who}, by ${answer.variant} in ${answer.timing_ms.total.toFixed(1)} ms:`;
    const items = answer.items.map((item) => {
      const names = Object.values(item.display).filter((one) => one !== null);
      const line = make("li", {}, names.join(", ") || item.item_id);
      line.append(make("span", {}, ` ${item.item_id}, score ${item.score.toFixed(3)}`));
      return line;
    });
    find("items").replaceChildren(...items);
  } catch (error) {
    find("answer").textContent = error.message;
    find("items").replaceChildren();
  }
}

// An address such as /?model=movielens&user=42 leads to a page that has already asked.
async function begin() {
  try {
    const wanted = new URLSearchParams(location.search);
    const { models } = await ask("v1/models");
    if (!models.length) throw new Error("The service has no models.");
    find("model").replaceChildren(...models.map((one) => make("option", { value: one.name }, one.name)));
    find("model").addEventListener("change", () => showModel(find("model").value).catch(fail));
    find("try").addEventListener("submit", (event) => {
      event.preventDefault();
      recommend();
    });
    const first = models.find((one) => one.name === wanted.get("model")) ?? models[0];
    find("model").value = first.name;
    await showModel(first.name).catch(fail); // it may answer all the same
    if (wanted.has("user")) {
      find("user").value = wanted.get("user");
      await recommend();
    }
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  find("status").textContent = `Something went wrong: ${error.message}`;
}

begin();
