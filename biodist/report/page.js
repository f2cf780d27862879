// Draws every chart of the page from the JSON beside it. Colours of text, axes and grids are the style sheet's.
"use strict";

const settings = {
  responsive: true,
  showSendToCloud: false, // the library's own default offers to upload a chart
  plotlyServerURL: "",
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
};

function charts() {
  return Array.from(document.querySelectorAll(".chart"));
}

async function draw(chart) {
  const figure = JSON.parse(document.getElementById(`${chart.id}-figure`).textContent);
  chart.replaceChildren();
  await Plotly.newPlot(chart, figure.data, figure.layout, settings);
}

// The paper is narrower or wider than the window: charts are laid out anew for it, and again for the window.
const PAPER_PX = 680;
window.addEventListener("beforeprint", () => charts().forEach((chart) => Plotly.relayout(chart, { width: PAPER_PX })));
window.addEventListener("afterprint", () => charts().forEach((chart) => Plotly.relayout(chart, { width: null, autosize: true })));

Promise.all(charts().map(draw)).then(() => {
  document.documentElement.dataset.drawn = String(charts().length);
});
