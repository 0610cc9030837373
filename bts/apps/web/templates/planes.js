(() => {  // three planes of a volume, by NiiVue
  let viewer = null, box = null;
  const fraction = (index) => {
    const at = (index + 0.5) / Number(box.dataset.count);
    return box.dataset.axis === '2' ? at : 1 - at;  // slices run to the left, to the back and upwards
  };
  const follow = (index) => {
    const at = [...viewer.scene.crosshairPos];
    at[Number(box.dataset.axis)] = fraction(index);
    viewer.scene.crosshairPos = at;
    viewer.drawScene();
  };
  const state = (text) => { const line = box.querySelector('[role=status]'); line.textContent = text; line.hidden = !text; };
  const library = (address) => window.niivue ? null : new Promise((done, failed) => {
    const script = document.createElement('script');
    Object.assign(script, { src: address, onload: done, onerror: failed });
    document.head.append(script);
  });
  const load = async (from) => {
    viewer?.gl?.getExtension('WEBGL_lose_context')?.loseContext();
    [viewer, box] = [null, from];
    const data = from.dataset, absolute = (name) => new URL(name, document.baseURI).href;
    if (!document.createElement('canvas').getContext('webgl2')) {
      from.classList.add('none');
      state('This browser has no WebGL 2, which the three planes need. All slices are above.');
      return;
    }
    try {
      await library(absolute('niivue.js'));
      const made = new window.niivue.Niivue({
        backColor: [0, 0, 0, 1], crosshairColor: [0.5, 0.7, 0.93, 0.8], fontColor: [0.91, 0.92, 0.93, 1], isRadiologicalConvention: true,
        sagittalNoseLeft: true, isOrientationTextVisible: data.oriented === '1', multiplanarShowRender: 0,
        show3Dcrosshair: false, crosshairWidth: 0.3, crosshairWidthUnit: 'percent',
        dragAndDropEnabled: false, loadingText: '', logLevel: 'error',
      });
      await made.attachToCanvas(from.querySelector('canvas'));
      made.setSliceType(made.sliceTypeMultiplanar);
      const [red, green, blue] = data.colour.split(',').map(Number);
      made.addColormap('bts', { R: [0, red], G: [0, green], B: [0, blue], A: [0, 255], I: [0, 255] });
      const volumes = [{ url: absolute(data.view), colormap: 'gray', cal_min: 0, cal_max: 255 }];
      if (data.mask) volumes.push({ url: absolute(data.mask), colormap: 'bts', opacity: 0.45, cal_min: 0, cal_max: 1 });
      await made.loadVolumes(volumes);
      if (box !== from) return;
      if (data.at) made.scene.crosshairPos = data.at.split(',').map(Number);
      viewer = made;
      follow(Number(document.querySelector('#bts-slice input[type=range]')?.value ?? 0));
      made.onLocationChange = (place) => {
        const at = place.frac[Number(data.axis)], count = Number(data.count);
        const index = Math.floor((data.axis === '2' ? at : 1 - at) * count);
        document.dispatchEvent(new CustomEvent('bts-slice', { detail: Math.max(0, Math.min(count - 1, index)) }));
      };
      from.dataset.ready = '1';
      state('');
    } catch (error) {
      state('The three planes could not be loaded: choose the file again. All slices are above.');
    }
  };
  document.addEventListener('input', (event) => {
    if (!viewer || !event.target.closest('#bts-slice')) return;
    follow(Number(event.target.value));
  });
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); load(entry.target); }
  });
  new MutationObserver(() => {
    for (const each of document.querySelectorAll('.bts-planes:not([data-seen])')) { each.dataset.seen = '1'; seen.observe(each); }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
