// Sorts and filters the tables (DataTables), and shows the view of the run that the address names.
"use strict";

(() => {
  const { runs, parts } = JSON.parse(document.getElementById("data").textContent);
  const ENTITIES = ["data set", "noise", "network", "method"];
  const byName = new Map(runs.map((run) => [run.name, run]));
  const overview = document.getElementById("overview");
  const view = document.getElementById("run");
  const options = view.dataset.options;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark", dark.matches); // DataTables looks for it
  dark.addEventListener("change", follow);
  follow();

  // An element with attributes and children; texts are text, never HTML.
  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const link = (name) => `#run/${name.split("/").map(encodeURIComponent).join("/")}`;
  // The parts stay text: a number of a script has 53 bits, and a seed 63.
  const restored = (places) => {
    const lines = Object.entries(places ?? {}).map(([key, at]) => `  ${JSON.stringify(key)}: ${parts[at].replaceAll("\n", "\n  ")}`);
    return `{\n${lines.join(",\n")}\n}`;
  };
  const rounded = (value, digits = 2) => (value === null || value === undefined ? "" : value.toFixed(digits));

  // For each table anew: DataTables writes into what it is given.
  const common = () => ({
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    layout: { topStart: "pageLength", topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
    language: { search: "Search", lengthMenu: "_MENU_ rows", info: "Rows _START_ to _END_ of _TOTAL_", infoEmpty: "No rows", infoFiltered: "(of _MAX_)" },
  });
  const tables = [...document.querySelectorAll("table.shown")].map((table) => new DataTable(table, common()));
  const shown = (digits) => (value, type) => (type === "display" ? rounded(value, digits) : (value ?? -1));
  const text = (title, data) => ({ title, data, render: DataTable.render.text() });
  const numeric = (title, data, digits) => ({
    title, data, defaultContent: "", className: "number", type: "num", render: shown(digits),
  });
  if (runs.length) {
    tables.push(new DataTable("#all-runs", {
      ...common(),
      data: runs,
      deferRender: true,
      columns: [
        { title: "run", data: "name", render: (name, type) => (type === "display" ? element("a", { href: link(name) }, name) : name) },
        text("data set", "dataset"), text("noise", "noise"), text("network", "network"), text("method", "method"),
        numeric("seed", "seed", 0), text("status", "status"), numeric("accuracy, %", "accuracy", 2),
        numeric("best epoch, %", "best", 2), numeric("epochs", "epochs", 0), numeric("seconds", "seconds", 1),
      ],
    }));
  }

  // One set of filters for all tables that have such a column.
  const form = document.getElementById("filters");
  const titles = (table) => table.columns().titles().toArray();
  const statuses = [...new Set(runs.map((run) => run.status))];
  const choices = {
    "data set": "dataset", noise: "noise", network: "network", method: "method", ...(statuses.length > 1 && { status: "status" }),
  };
  for (const [title, key] of Object.entries(choices)) {
    const select = element("select", {}, element("option", { value: "" }, "all"));
    for (const value of new Set(runs.map((run) => run[key]))) select.append(element("option", { value }, value));
    select.addEventListener("change", () => {
      for (const table of tables) {
        const at = titles(table).indexOf(title);
        if (at >= 0) table.column(at).search(select.value, { exact: Boolean(select.value) }).draw();
      }
    });
    form.append(element("label", {}, `${title} `, select));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;

  // The view of a run.
  const code = (command) => element("pre", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Command" }, element("code", {}, command));
  const facts = (pairs) => {
    const list = element("dl");
    for (const [name, value] of pairs) {
      if (value !== undefined && value !== null && value !== "") list.append(element("dt", {}, name), element("dd", {}, String(value)));
    }
    return list;
  };
  const json = (label, value) => element(
    "details", { open: "" }, element("summary", {}, label),
    element("pre", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, value),
  );
  const curve = (run) => {
    if (!run.curve) return [element("p", {}, "There is no curve yet.")];
    const svg = new DOMParser().parseFromString(run.curve, "image/svg+xml").documentElement;
    return [element("div", { class: "curve" }, document.importNode(svg, true)), element("p", {}, `${run.curve_says}.`)];
  };
  const weights = (run) => {
    if (!run.weights?.length) {
      return [element("p", {}, run.kept === "none" ? "The weights were not kept (execution.keep_weights)." : "There are no weights.")];
    }
    const files = element("ul", {}, ...run.weights.map((path) => element("li", {}, element("code", {}, path))));
    if (run.status === "diverged") return [files, element("p", {}, "The run diverged, so its weights are of no use.")];
    const load = [
      "from safetensors.torch import load_file",
      "",
      `weights = load_file(${JSON.stringify(run.weights[0])})  # a tensor by name`,
    ].join("\n");
    const quoted = /^[\w./-]+$/.test(run.folder) ? run.folder : `'${run.folder.replaceAll("'", "'\\''")}'`;
    return [
      files,
      element("p", {}, "Load them for plain PyTorch, without this package: the command writes a folder whose README.md says how."),
      code(`collabpipe export weights ${quoted} --out exported`),
      element("p", {}, "Name the classes of your own images with the run:"),
      code(`collabpipe predict ${quoted} image.png`),
      element("p", {}, "Read the tensors alone:"),
      code(load),
    ];
  };
  const same = (run, key) => runs.filter((other) => ENTITY_KEYS.every((name) => name === key || other[name] === run[name]));
  const ENTITY_KEYS = ["dataset", "noise", "network", "method", "seed"];
  const others = (run, key, title) => {
    const found = same(run, key);
    if (found.length < 2) return [];
    const items = found.map((other) => {
      const accuracy = other.accuracy === null || other.accuracy === undefined ? other.status : `${rounded(other.accuracy)}%`;
      const label = `${key === "seed" ? "seed " : ""}${other[key]}`;
      const shownAs = other === run ? element("b", {}, label) : element("a", { href: link(other.name) }, label);
      return element("li", {}, shownAs, ` ${accuracy}`);
    });
    return [element("h3", {}, title), element("ul", { class: "links" }, ...items)];
  };
  const describe = (run) => [
    element("p", {}, element("a", { href: "#runs" }, "← All runs")),
    element("h2", { id: "run-name", tabindex: "-1" }, run.name),
    facts([
      ["Status", run.status], ["Says", run.says], ["Log", run.log],
      ["Test accuracy, last epoch", run.accuracy === undefined || run.accuracy === null ? "" : `${rounded(run.accuracy)}%`],
      ["Test accuracy, best epoch", run.best === undefined || run.best === null ? "" : `${rounded(run.best)}%${run.best_epoch ? ` (epoch ${run.best_epoch})` : ""}`],
      ["Training", run.seconds ? `${rounded(run.seconds, 1)} s` : ""], ["Folder", run.folder],
    ]),
    element("h3", {}, "Curve"), ...curve(run),
    ...others(run, "seed", "Its replicates"), ...others(run, "method", "Other methods with this seed"),
    element("h3", {}, "Make it again"), element("p", {}, "Results that are in the store are taken from there."), code(run.commands.join("\n")),
    element("h3", {}, "Weights"), ...weights(run),
    element("h3", {}, "Recipe and provenance"),
    json(`Recipe ${run.digest}`, restored(run.recipe)), json("Provenance", restored(run.provenance)),
  ];
  const route = () => {
    const named = location.hash.startsWith("#run/");
    overview.hidden = named;
    view.hidden = !named;
    view.replaceChildren();
    if (!named) {
      document.getElementById(location.hash.slice(1))?.scrollIntoView();
      return;
    }
    const name = decodeURIComponent(location.hash.slice("#run/".length));
    const run = byName.get(name);
    view.append(...(run ? describe(run) : [
      element("h2", { id: "run-name", tabindex: "-1" }, "No such run"), element("p", {}, `The study has no run ${name}.`),
      element("p", {}, element("a", { href: "#runs" }, "← All runs")),
    ]));
    scrollTo(0, 0);
    document.getElementById("run-name").focus({ preventScroll: true });
  };
  addEventListener("hashchange", route);
  if (location.hash) route();
})();
