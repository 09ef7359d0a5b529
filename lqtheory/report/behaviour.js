"use strict";
// Everything is readable without this script: it adds sorting, filtering, the choice between panels and the slider.

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// sorting: a heading is a button; first click puts large numbers or the start of the alphabet on top
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button", title: heading.title }, heading.textContent);
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = heading.classList.contains("number");
      const before = heading.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        if (!numeric) return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
        return cell.dataset.v === undefined ? NaN : Number(cell.dataset.v);
      };
      const order = (a, b) => {
        if (typeof a === "number" && typeof b === "number") {
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // undefined ones last
          return down ? b - a : a - b;
        }
        const [x, y] = down ? [b, a] : [a, b];
        return String(x).localeCompare(String(y), "en", { numeric: true });
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort((a, b) => order(a[0], b[0]));
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}

// filtering: rows that contain every word typed
document.querySelectorAll("table[data-filtered]").forEach((table, k) => {
  const rows = [...table.tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const input = make("input", { type: "search", id: `filter${k}`, placeholder: "words, all of which must occur" });
  const count = make("output", { htmlFor: input.id }, `${rows.length} rows`);
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      shown += !row.hidden;
    });
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  };
  input.addEventListener("input", show);
  table.closest(".table").prepend(make("div", { className: "tools" }, make("label", { htmlFor: input.id }, "Filter"), input, count));
});

// panels: one at a time, chosen by name
document.querySelectorAll(".panels").forEach((panels, k) => {
  const items = [...panels.children];
  if (items.length < 2) return;
  const options = items.map((item, i) => make("option", { value: i }, item.dataset.label));
  const select = make("select", { id: `choice${k}` }, ...options);
  const show = () => items.forEach((item, i) => { item.hidden = i !== Number(select.value); });
  select.addEventListener("change", show);
  const name = panels.dataset.choice;
  const label = make("label", { htmlFor: select.id }, name[0].toUpperCase() + name.slice(1));
  panels.prepend(make("div", { className: "tools" }, label, select));
  show();
});

// one sparsity of a chart: the band, the row of numbers below it, the slider and the words that say it go together
document.querySelectorAll("figure[data-slider]").forEach((figure, k) => {
  const bands = [...figure.querySelectorAll(".band")];
  const rows = new Map([...figure.querySelectorAll("tr[data-point]")].map((row) => [row.dataset.point, row]));
  const slider = make("input", { type: "range", id: `slider${k}`, min: 0, max: bands.length - 1, step: 1 });
  const reading = make("output", { className: "reading", htmlFor: slider.id });
  reading.setAttribute("aria-live", "polite");
  const choose = (i) => {
    bands.forEach((band, j) => {
      band.classList.toggle("on", i === j);
      rows.get(band.dataset.point)?.classList.toggle("on", i === j);
    });
    slider.value = i;
    reading.textContent = bands[i].getAttribute("aria-label");
    slider.setAttribute("aria-valuetext", reading.textContent);
  };
  slider.addEventListener("input", () => choose(Number(slider.value)));
  bands.forEach((band, i) => {
    band.addEventListener("pointerenter", () => choose(i));
    band.addEventListener("focus", () => choose(i));
    rows.get(band.dataset.point)?.addEventListener("pointerenter", () => choose(i));
  });
  const tools = make("div", { className: "tools" }, make("label", { htmlFor: slider.id }, "Sparsity"), slider, reading);
  figure.querySelector(".drawing").after(tools);
  choose(Math.floor(bands.length / 2));
});

// a tensor under the pointer in a table stands out among the thin curves of its part
document.querySelectorAll("section.run").forEach((run) => {
  const curves = new Map([...run.querySelectorAll("g.faint[data-name]")].map((curve) => [curve.dataset.name, curve]));
  if (!curves.size) return;
  run.querySelectorAll("tbody th[scope=row]").forEach((heading) => {
    const curve = curves.get(heading.textContent);
    if (!curve) return;
    heading.parentElement.addEventListener("pointerenter", () => curve.classList.add("on"));
    heading.parentElement.addEventListener("pointerleave", () => curve.classList.remove("on"));
  });
});
