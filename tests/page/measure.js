// What is wrong with the layout of the page it runs in, and the text that can be read there; told to the page around.
addEventListener('load', () => {
  const wide = document.documentElement.clientWidth, found = [], seen = [];
  const kind = e => e.className.baseVal ?? e.className;
  const name = e => `${e.tagName.toLowerCase()}.${kind(e)} "${e.textContent.slice(0, 40)}"`;

  // Contrast as in WCAG 2: of the text's colour and the first opaque one behind it.
  const channels = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const part = x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * part(r / 255) + .7152 * part(g / 255) + .0722 * part(b / 255);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length == 3 || c[3] > .9) return c;
    }
    return [255, 255, 255];
  };

  if (document.documentElement.scrollWidth > wide)
    found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const places = 'section, .tile, .tile > *, .scroll, td, dd, dt, li, h1, h2, p, .pill, .of, .keys, .counts > *';
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || style.display == 'none') continue;
    // A lane's name is cut where its place ends; the whole of it is in the tables.
    if (e.closest('.lane .name bdi')) continue;
    if (box.right > wide + 1 || box.left < -1) found.push(`outside: ${name(e)}`);
    if (e.matches(places) && style.display != 'inline' && e.scrollWidth > e.clientWidth + 1)
      found.push(`too wide for its place: ${name(e)}`);
  }
  for (const axis of document.querySelectorAll('.axis')) {
    let last = -1e9;
    for (const mark of axis.children) {
      const box = mark.getBoundingClientRect();
      if (!box.width) continue;
      if (box.left < last) found.push(`marks of an axis touch: ${name(mark)}`);
      last = box.right;
    }
  }

  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    // Heads of columns and every second mark are left out where there is no room for them.
    if (!text || (e.closest('thead, .axis') && !e.getBoundingClientRect().width)) continue;
    const range = document.createRange();
    range.selectNodeContents(walk.currentNode);
    const box = range.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || !box.height || style.visibility != 'visible' || style.opacity < .9) {
      found.push(`not to be seen: ${name(e)}`);
      continue;
    }
    if (parseFloat(style.fontSize) < 10) found.push(`too small: ${name(e)}`);
    const one = light(channels(style.color)), two = light(ground(e));
    const contrast = (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
    if (contrast < 3) found.push(`contrast ${contrast.toFixed(1)}: ${name(e)}`);
    seen.push(text);
  }
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  parent.postMessage({at: location.pathname + location.hash, wide, dark, found, seen}, '*');
});
