// The page of holdup: it connects the panels with the service and with the state of the view.
//
// A panel is a function `mount…Panel(container, app)`. It fills `container`, an empty element, and stays for the life of
// the page. It never writes names from the service as markup: `app.dom` creates text nodes only.
//
// app = {
//   state: {                                   // the view, kept in the URL's hash; see view_state.js
//     get(key) → string | number | null,       // null: not set
//     set({ key: value, … }),                  // null removes a key; listeners run at once, and once
//     subscribe([keys], listener) → stop,      // listener() after a change of one of the keys
//   },
//     Keys: from, to       numbers, unix ms: the selected time; both null: no selection
//           span, end      numbers, ms and unix ms: the zoom of the lanes; end null: it follows the time
//           theme          'light', 'dark' or null (the system's)
//           search, cause, counted, open       the filter of the stalls, and the open function
//           spawn, order   the open spawn site, and the order of the tasks
//           profile_…      any key with this prefix belongs to flame.js
//   store: {                                   // the latest data; see store.js
//     stalls,                                  // the answer of /debug/holdup/stalls, or null
//     held,                                    // the data of the last `held` event, or null; held.received_at: performance.now()
//     timeline,                                // see timeline.js: lanes, tasks, extent() → { from, to } in unix ms
//     numbers,                                 // see number_history.js
//     contact,                                 // { state: 'connecting' | 'live' | 'lost' | 'ended', since: Date, sentence }
//     check,                                   // the answer of /debug/holdup/self-check, or null
//     program, pid, version,                   // of the service; null before the first answer
//     subscribe([topics], listener) → stop,    // topics: the names above ('stalls', 'held', 'timeline', …)
//   },
//   selection() → { from, to } | null,         // unix ms; what is selected in the lanes
//   visible() → { from, to },                  // unix ms; what the lanes show
//   request(path, { signal, method, as }) → Promise, // fetch of the service; as: 'json' (default), 'text', 'bytes'; throws Error(sentence)
//   say(sentence),                             // tells it to screen readers
//   colors() → { ink, faint, line, paper, panel, stall, select, between, tasks: [10 colors] }, // for canvases, of the theme
//   on_colors(listener) → stop,                // after a change of the theme
//   dom, format,                               // the modules dom.js and format.js
// }

import * as dom from './dom.js';
import * as format from './format.js';
import { createColors } from './colors.js';
import { createState } from './view_state.js';
import { createStore } from './store.js';
import { follow } from './live.js';
import { visibleWindow } from './time_window.js';
import { request } from './request.js';
import { mountContact } from './contact.js';
import { mountThemeSwitch } from './theme.js';
import { mountSelection } from './selection.js';
import { mountHeldPanel } from './held.js';
import { mountLanesPanel } from './lanes.js';
import { mountStallsPanel } from './stalls.js';
import { mountTasksPanel } from './tasks.js';
import { mountNumbersPanel } from './numbers.js';
import { mountCheckPanel } from './check.js';

const place = (id) => document.getElementById(id);

const state = createState(window);
const store = createStore();
const colors = createColors(state);

const app = {
  state,
  store,
  dom,
  format,
  request,
  colors: colors.get,
  on_colors: colors.subscribe,
  selection() {
    const [from, to] = [state.get('from'), state.get('to')];
    return from === null || to === null ? null : { from, to };
  },
  visible: () => visibleWindow(store.timeline.extent(), state.get('span'), state.get('end')),
  say: (sentence) => dom.setText(place('said'), sentence),
};

mountThemeSwitch(place('theme'), app);
mountContact(place('contact'), app);
mountSelection(place('selection'), app);
mountHeldPanel(place('held'), app);
mountLanesPanel(place('lanes'), app);
mountStallsPanel(place('stalls'), app);
mountTasksPanel(place('tasks'), app);
mountNumbersPanel(place('numbers'), app);
mountCheckPanel(place('check'), app);
mountProfile(place('profile'));
follow(app);

// The flamegraph is a module of its own. Without it the rest of the page works, and its place stays hidden.
async function mountProfile(section) {
  try {
    const { mountProfilePanel } = await import('./flame.js');
    section.hidden = false;
    mountProfilePanel(section.querySelector('.content'), app);
  } catch (error) {
    section.hidden = true;
    console.info(`The flamegraph is not there: ${error.message}`);
  }
}
