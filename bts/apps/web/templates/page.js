(() => {
  const root = document.documentElement, at = { zoom: 1, x: 0, y: 0 };
  let drag = null;
  const place = () => {
    const room = (at.zoom - 1) / 2 * 100;
    at.x = Math.max(-room, Math.min(room, at.x)); at.y = Math.max(-room, Math.min(room, at.y));
    root.style.setProperty('--bts-zoom', at.zoom);
    root.style.setProperty('--bts-x', at.x + '%'); root.style.setProperty('--bts-y', at.y + '%');
  };
  const whole = () => { at.zoom = 1; at.x = at.y = 0; place(); };
  const zoom = (factor) => {
    const before = at.zoom;
    at.zoom = Math.max(1, Math.min(8, at.zoom * factor));
    at.x *= at.zoom / before; at.y *= at.zoom / before; place();
  };
  const sort = (button) => {
    const head = button.closest('th'), body = head.closest('table').tBodies[0];
    const column = [...head.parentNode.children].indexOf(head), down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of head.parentNode.children) other.setAttribute('aria-sort', 'none');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = (row) => { const cell = row.cells[column]; return cell.dataset.v ?? cell.textContent; };
    const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
    const number = (a, b) => Number(value(a)) - Number(value(b));
    const rows = [...body.rows].sort(head.classList.contains('n') ? number : order);
    body.append(...(down ? rows.reverse() : rows));
  };
  const sliceRange = () => document.querySelector('#bts-slice input[type=range]');
  const move = (range, index) => {
    range.value = index;
    for (const name of ['input', 'change']) range.dispatchEvent(new Event(name, { bubbles: true }));
  };
  let check = 0, repeating = false;
  const repeatLost = (tries = 10) => {  // Gradio 6.31 can lose a change of the slider while it sends another one
    clearTimeout(check);
    check = setTimeout(() => {
      const range = sliceRange(), shown = document.querySelector('.bts-strip')?.dataset.at, wanted = range?.value;
      if (!tries || shown === undefined || shown === wanted) return;
      const step = (index) => { repeating = true; move(range, index); repeating = false; };
      const beside = Number(wanted) > 0 ? Number(wanted) - 1 : 1;  // the same value again would be no change
      step(beside);
      setTimeout(() => { if (Number(range.value) === beside) step(wanted); }, 50);
      repeatLost(tries - 1);
    }, 1000);
  };
  const show = (index) => {
    const range = sliceRange();
    if (range && Number(range.value) !== index) move(range, index);
  };
  const slice = (strip, event) => {
    const box = strip.querySelector('svg').getBoundingClientRect(), count = Number(strip.dataset.count);
    show(Math.max(0, Math.min(count - 1, Math.floor((event.clientX - box.left) / box.width * count))));
  };
  document.addEventListener('bts-slice', (event) => show(event.detail));
  document.addEventListener('input', (event) => { if (!repeating && event.target.closest?.('#bts-slice')) repeatLost(); });
  document.addEventListener('click', (event) => {
    const action = event.target.closest('[data-bts]')?.dataset.bts;
    if (action === 'in') zoom(1.5); else if (action === 'out') zoom(1 / 1.5); else if (action === 'sort') sort(event.target);
    else if (action === 'reset') whole();
    if (event.target.closest('.bts-examples button')) whole();
    if (event.target.closest('.bts-examples')) document.getElementById('bts-too-large')?.remove();
    const strip = event.target.closest('.bts-strip'); if (strip) slice(strip, event);
  });
  document.addEventListener('dblclick', (event) => { if (event.target.closest('.bts-view')) zoom(2); });
  document.addEventListener('wheel', (event) => {
    if (event.target.closest('.bts-view') && event.ctrlKey) { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2); }
  }, { passive: false });
  document.addEventListener('pointerdown', (event) => {
    const strip = event.target.closest('.bts-strip');  // an answer that replaces it before the release would cost the click
    if (strip && event.pointerType === 'mouse' && event.button === 0) slice(strip, event);
    const view = event.target.closest('.bts-view');
    if (view && at.zoom > 1) { drag = { view, x: event.clientX, y: event.clientY }; view.setPointerCapture?.(event.pointerId); }
  });
  document.addEventListener('pointermove', (event) => {
    if (!drag) return;
    const box = drag.view.getBoundingClientRect();
    at.x += (event.clientX - drag.x) / box.width * 100; at.y += (event.clientY - drag.y) / box.height * 100;
    drag.x = event.clientX; drag.y = event.clientY; place();
  });
  const tooLarge = (event) => {  // before Gradio, which only says "Error"
    const zone = event.target.closest?.('#bts-upload, #bts-files'), dropped = event.type === 'drop';
    const files = zone && [...(dropped ? event.dataTransfer.files : event.target.files ?? [])];
    const limits = document.querySelector('.bts-head')?.dataset;
    if (!files?.length || !limits) return;  // before the head is drawn, the server alone refuses
    if (zone.id === 'bts-upload') whole();  // another scan
    document.getElementById('bts-too-large')?.remove();
    const most = Number(limits.mib), count = Number(limits.files), mib = 2 ** 20;
    const together = files.reduce((sum, each) => sum + each.size, 0), one = files.length === 1;
    if (together <= most * mib && files.length <= count) return;
    event.stopPropagation(); event.preventDefault();
    if (dropped) event.target.dispatchEvent(new Event('dragleave', { bubbles: true })); else event.target.value = '';
    const note = document.createElement('p');
    note.id = 'bts-too-large'; note.className = 'bts-note error'; note.role = 'alert';
    const what = one ? `${files[0].name}: a file` : `${files.length} files`;
    note.textContent = files.length > count ? `${what}: this page takes ${count} at once, pack a longer series as a zip`
      : `${what} of ${Math.ceil(together / mib)} MiB: this page takes at most ${most} MiB, use \`python infer.py\``;
    zone.after(note);
  };
  const filesIn = async (entry) => {
    if (entry.isFile) return [await new Promise((found, failed) => entry.file(found, failed))];
    const reader = entry.createReader(), found = [];
    for (let some; (some = await new Promise((listed, failed) => reader.readEntries(listed, failed))).length;) found.push(...some);
    return (await Promise.all(found.map(filesIn))).flat();
  };
  const folders = async (event) => {  // Gradio would send a folder as if it were a file
    const input = event.target.closest?.('#bts-upload, #bts-files')?.querySelector('input[type=file]');
    const entries = input ? [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry()).filter(Boolean) : [];
    if (!entries.some((each) => each.isDirectory)) return;
    event.stopImmediatePropagation(); event.preventDefault();
    event.target.dispatchEvent(new Event('dragleave', { bubbles: true }));
    const list = new DataTransfer();
    for (const file of (await Promise.all(entries.map(filesIn))).flat()) list.items.add(file);
    input.files = list.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  };
  document.addEventListener('drop', folders, true);
  for (const begin of ['change', 'drop']) document.addEventListener(begin, tooLarge, true);
  for (const end of ['pointerup', 'pointercancel']) document.addEventListener(end, () => { drag = null; });
})();
