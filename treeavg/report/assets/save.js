// A picture as an SVG file that needs no style sheet: what the page's style says is written into each element.

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight", "font-family", "text-anchor"];
const PLAIN = { "stroke-dasharray": "none", opacity: "1" };

function standalone(picture) {
  const copy = picture.cloneNode(true);
  const originals = picture.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((node, place) => {
    const style = window.getComputedStyle(originals[place]);
    for (const name of KEPT) {
      const value = style.getPropertyValue(name);
      if (value && value !== PLAIN[name]) node.setAttribute(name, value);
    }
    node.removeAttribute("class");
  });
  const size = picture.viewBox.baseVal;
  const ground = window.getComputedStyle(document.documentElement).backgroundColor;
  copy.prepend(svg("rect", { width: size.width, height: size.height, fill: ground }));
  copy.setAttribute("width", size.width);
  copy.setAttribute("height", size.height);
  copy.removeAttribute("class");
  // XML has no place for control characters.
  return new XMLSerializer().serializeToString(copy).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd");
}

function savePicture(name) {
  const picture = document.querySelector("#picture svg");
  if (!picture) return;
  const address = URL.createObjectURL(new Blob([standalone(picture)], { type: "image/svg+xml" }));
  el("a", { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10000);
}
