'use strict';
// The pages work without this; with it they are quicker.
document.addEventListener('change', event => {
  const control = event.target.closest('[data-autosubmit]');
  if (control) control.form.requestSubmit();
});

document.addEventListener('click', async event => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS browsers give no clipboard: select the text, so that a key press copies it.
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    return;
  }
  const before = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.addEventListener('keydown', event => {
  if (event.key === '/' && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    const search = document.querySelector('[data-search]');
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
});

// Who is online now, every few seconds, of the devices on this page, while somebody looks at it.
const live = document.querySelector('[data-live]');
if (live) {
  const rows = new Map([...live.querySelectorAll('[data-uuid]')].map(row => [row.dataset.uuid, row.querySelector('[data-online]')]));
  const query = [...rows.keys()].map(uuid => `uuid=${uuid}`).join('&');
  setInterval(async () => {
    if (document.hidden || rows.size === 0) return;
    try {
      const response = await fetch(`${live.dataset.live}?${query}`, { redirect: 'error' });
      if (!response.ok) return;
      for (const [uuid, online] of Object.entries(await response.json())) {
        const status = rows.get(uuid);
        if (status && status.classList.contains('online') !== online) {
          status.className = `status ${online ? 'online' : 'offline'}`;
          status.lastChild.remove();
          while (status.childNodes.length > 1) status.lastChild.remove();
          if (status.childNodes.length === 0) { const dot = document.createElement('span'); dot.className = 'dot'; status.append(dot); }
          status.append(online ? 'Online' : 'Offline, seen just now');
        }
      }
    } catch { /* The next time. */ }
  }, 3000);
}
