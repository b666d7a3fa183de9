// The line that says whose data this is, and whether they still arrive.

export function mountContact(container, app) {
  const { el, setText } = app.dom;
  const { store } = app;
  const program = el('strong', { class: 'program' });
  const process = el('span', { class: 'faint' });
  const mark = el('span', { class: 'contact-mark', 'aria-hidden': 'true' });
  const words = el('span', { class: 'contact-words' });
  container.append(el('span', { class: 'whose' }, program, ' ', process), el('span', { class: 'contact', role: 'status' }, mark, words));

  const showProgram = () => {
    setText(program, store.program === null ? '' : app.format.visible(app.format.middleCut(store.program, 60)));
    setText(process, store.pid === null ? '' : `process ${store.pid}`);
    const title = store.program === null ? 'holdup' : `${app.format.middleCut(store.program, 60)} – holdup`;
    if (document.title !== title) document.title = title;
  };
  const showContact = () => {
    const { contact } = store;
    container.dataset.contact = contact.state;
    document.documentElement.dataset.contact = contact.state;
    setText(words, contactSentence(contact, app.format.time));
  };
  store.subscribe(['timeline'], showProgram);
  store.subscribe(['contact'], showContact);
  showProgram();
  showContact();
}

/** What the contact is, in words. */
export function contactSentence({ state, since, sentence }, time) {
  if (state === 'live') return 'Live';
  if (state === 'connecting') return 'Connecting…';
  const beginning = state === 'ended' ? `The watch ended at ${time(since)}.` : `Contact lost since ${time(since)}.`;
  return sentence === '' || sentence === 'The service is silent.' ? beginning : `${beginning} ${sentence}`;
}
