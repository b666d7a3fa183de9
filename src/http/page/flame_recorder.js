// The form that starts a recording, the bar that counts its seconds, and its Stop button.

import { parseProfile } from './profile_data.js';
import { setDisabled } from './flame_button.js';
import { MODES, modeNamed, sentence } from './flame_text.js';

const LONGEST_SECONDS = 300;

const RATES = ['99', '249', '997'];

/** Where the service's frames begin: at the program's functions, or at the start of the thread. */
const FRAMES = [['program', 'Your code and its calls'], ['all', 'Whole stacks']];

/** The form. `on_recording(recording)` gets each finished recording. */
export function createRecorder(app, { on_recording, on_start }) {
  const { el } = app.dom;
  const choose = (id, label, options) => {
    const select = el('select', { id: `flame-${id}`, on: { change: () => changed() } },
      options.map(([value, text]) => el('option', { value, text })));
    return { select, field: field(el, select, label) };
  };
  const mode = choose('mode', 'Measure', MODES.map(({ mode, label }) => [mode, label]));
  const seconds_input = el('input', { id: 'flame-seconds', type: 'number', min: '0.5', max: String(LONGEST_SECONDS), step: '0.5', required: true, on: { change: () => changed() } });
  const rate = choose('rate', 'Samples per second', RATES.map((value) => [value, value]));
  const frames = choose('frames', 'Frames', FRAMES);
  const record = el('button', { type: 'submit', class: 'primary', text: 'Record' });
  const hint = el('p', { class: 'flame-hint faint' });
  const bar = createBar(app);
  const error = el('p', { class: 'flame-error', role: 'alert' });
  const form = el('form', { class: 'flame-form', 'aria-label': 'New recording', novalidate: true },
    mode.field, field(el, seconds_input, 'Seconds'), rate.field, frames.field, record);

  const showState = () => {
    mode.select.value = modeNamed(app.state.get('profile_mode')).mode;
    seconds_input.value = app.state.get('profile_seconds') ?? '5';
    rate.select.value = RATES.includes(app.state.get('profile_rate')) ? app.state.get('profile_rate') : RATES[0];
    frames.select.value = app.state.get('profile_frames') === 'all' ? 'all' : 'program';
    const chosen = modeNamed(mode.select.value);
    seconds_input.disabled = !chosen.seconds;
    rate.select.disabled = !chosen.sampled;
    app.dom.setText(hint, chosen.seconds ? '' : 'The service answers at once: this is a state, not a time window.');
    hint.hidden = chosen.seconds;
  };
  const changed = () => app.state.set({
    profile_mode: mode.select.value,
    profile_seconds: seconds_input.value,
    profile_rate: rate.select.value === RATES[0] ? null : rate.select.value,
    profile_frames: frames.select.value === 'all' ? 'all' : null,
  });

  const fail = (text) => app.dom.setText(error, text);

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (bar.is_running()) return;
    fail('');
    const chosen = modeNamed(mode.select.value);
    const seconds = Number(seconds_input.value);
    if (chosen.seconds && !(seconds > 0 && seconds <= LONGEST_SECONDS)) {
      fail(`A recording takes more than 0 and at most ${LONGEST_SECONDS} seconds.`);
      seconds_input.focus();
      return;
    }
    const name = uniqueName();
    const query = new URLSearchParams({ mode: chosen.mode, format: 'json', all_frames: String(frames.select.value === 'all'), name });
    if (chosen.seconds) query.set('seconds', String(seconds));
    if (chosen.sampled) query.set('rate', rate.select.value);
    setDisabled(record, true);
    on_start();
    bar.start(chosen, chosen.seconds ? seconds : 0, name, fail);
    try {
      const answer = await app.request(`/debug/holdup/profile?${query}`);
      on_recording(parseProfile(answer));
    } catch (refusal) {
      fail(sentence(refusal.message));
    } finally {
      // The Stop button goes, and the focus must not go with it.
      if (bar.node.contains(document.activeElement)) record.focus();
      bar.end();
      setDisabled(record, false);
    }
  });

  showState();
  app.state.subscribe(['profile_mode', 'profile_seconds', 'profile_rate', 'profile_frames'], showState);
  return { node: el('div', { class: 'flame-recorder' }, form, hint, bar.node, error) };
}

function field(el, control, label) {
  return el('div', { class: 'flame-field' }, el('label', { for: control.id, text: label }), control);
}

/** `crypto.randomUUID` is missing on pages without TLS, such as this one. */
function uniqueName() {
  return `page-${[...crypto.getRandomValues(new Uint32Array(2))].map((part) => part.toString(36)).join('')}`;
}

function createBar(app) {
  const { el, setText } = app.dom;
  const progress = el('progress', { max: '1', value: '0', 'aria-label': 'Recorded time' });
  const text = el('span', { class: 'flame-counting' });
  const stop = el('button', { type: 'button', text: 'Stop' });
  const node = el('div', { class: 'flame-bar', hidden: true }, progress, text, stop);
  let run = null;

  const count = () => {
    const passed = (performance.now() - run.started_at) / 1000;
    if (run.is_stopping) setText(text, 'The recording ends.');
    else if (passed > run.seconds) setText(text, 'The service prepares the answer.');
    else setText(text, `Recording: ${passed.toFixed(1)} of ${run.seconds} s`);
    if (run.seconds > 0 && passed <= run.seconds) progress.value = passed / run.seconds;
    else progress.removeAttribute('value');
  };

  stop.addEventListener('click', async () => {
    if (!run || run.is_stopping) return;
    const stopped = run;
    stopped.is_stopping = true;
    setDisabled(stop, true);
    count();
    try {
      await app.request(`/debug/holdup/profile/stop?name=${encodeURIComponent(stopped.name)}`, { method: 'POST', as: 'text' });
    } catch (error) {
      if (run !== stopped) return;
      stopped.is_stopping = false;
      setDisabled(stop, false);
      stopped.fail(sentence(error.message));
    }
  });

  return {
    node,
    is_running: () => run !== null,
    start(mode, seconds, name, fail) {
      run = { name, seconds, fail, started_at: performance.now(), is_stopping: false, timer: setInterval(count, 100) };
      setDisabled(stop, false);
      stop.hidden = seconds === 0;
      node.hidden = false;
      count();
      app.say(seconds > 0 ? `${mode.what} is recorded for ${seconds} seconds.` : `${mode.what} is read.`);
    },
    end() {
      clearInterval(run.timer);
      run = null;
      node.hidden = true;
    },
  };
}
