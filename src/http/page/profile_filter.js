// Which samples of a recording are in the view: by time, thread, runtime, task and state.

/** Kinds of a choice, in the order of the page. */
export const CHOICES = ['runtime', 'thread', 'task', 'state'];

/** More options are left out of a choice: a service can have a thread or a task for each request. */
export const MOST_OPTIONS = 200;

const NOTHING = '–';

/** The values of a sample's labels, one for each choice. They are also the values in the URL. */
const VALUE = {
  runtime: (labels) => labels.runtime ?? NOTHING,
  thread: (labels) => [labels.thread ?? NOTHING, labels.tid].filter((part) => part !== undefined).join(' '),
  task: (labels) => [labels.task_name, labels.spawn].filter((part) => part).join(' — ') || NOTHING,
  state: (labels) => labels.state ?? NOTHING,
};

const NONE = { runtime: 'no runtime', thread: 'unknown thread', task: 'no task', state: 'unknown state' };

/** The text of an option. */
export function optionText(choice, value) {
  return value === NOTHING ? NONE[choice] : value;
}

/**
 * The options of each choice, heaviest first: { runtime: { options: [{ value, weight }], left_out }, … }.
 */
export function filterOptions(recording) {
  const of_label = new Float64Array(recording.labels.length + 1);
  for (let i = 0; i < recording.length; i++) of_label[recording.label_of[i] + 1] += recording.weights[i];
  const result = {};
  for (const choice of CHOICES) {
    const weights = new Map();
    of_label.forEach((weight, index) => {
      if (index === 0 && weight === 0) return;
      const value = VALUE[choice](recording.labels[index - 1] ?? {});
      weights.set(value, (weights.get(value) ?? 0) + weight);
    });
    const options = [...weights].map(([value, weight]) => ({ value, weight })).sort((a, b) => b.weight - a.weight);
    result[choice] = { options: options.slice(0, MOST_OPTIONS), left_out: Math.max(0, options.length - MOST_OPTIONS) };
  }
  return result;
}

/** Whether the samples with a label are in the view: an array by label, and in its first place samples without labels. */
function labelsInView(recording, filter) {
  const choices = CHOICES.filter((choice) => filter[choice]);
  const isIn = (labels) => choices.every((choice) => {
    const value = filter[choice];
    return value.startsWith('!') ? VALUE[choice](labels) !== value.slice(1) : VALUE[choice](labels) === value;
  });
  return Uint8Array.from([{}, ...recording.labels], (labels) => Number(isIn(labels)));
}

/**
 * Calls `visit(index)` for the samples in the view. `filter`: { from, to } in ms since the start (to is exclusive), and a value
 * for any choice; `!value` is all but that value; `without_idle` leaves out threads that wait for work.
 */
export function eachSample(recording, filter, visit) {
  const in_view = labelsInView(recording, filter);
  const has_range = recording.has_times && filter.from !== null && filter.from !== undefined;
  for (let i = 0; i < recording.length; i++) {
    if (filter.without_idle && recording.idle[recording.stack_of[i]] === 1) continue;
    if (in_view[recording.label_of[i] + 1] === 0) continue;
    if (has_range && !(recording.times[i] >= filter.from && recording.times[i] < filter.to)) continue;
    visit(i);
  }
}

/** The weight of each stack in the view: { weights, counts, total, count }. */
export function weightsOfStacks(recording, filter) {
  const weights = new Float64Array(recording.stacks.length);
  const counts = new Float64Array(recording.stacks.length);
  let [total, count] = [0, 0];
  eachSample(recording, filter, (i) => {
    weights[recording.stack_of[i]] += recording.weights[i];
    counts[recording.stack_of[i]] += recording.counts[i];
    total += recording.weights[i];
    count += recording.counts[i];
  });
  return { weights, counts, total, count };
}

/** The weight of the samples that `without_idle` leaves out. */
export function idleWeight(recording, filter) {
  let sum = 0;
  eachSample(recording, { ...filter, without_idle: false }, (i) => { sum += recording.idle[recording.stack_of[i]] * recording.weights[i]; });
  return sum;
}

/** The length of the view in ms. */
export function lengthOfView(recording, filter) {
  const has_range = recording.has_times && filter.from !== null && filter.from !== undefined;
  return has_range ? Math.max(0, Math.min(filter.to, recording.duration) - filter.from) : recording.duration;
}
