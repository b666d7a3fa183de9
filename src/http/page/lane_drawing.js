// Draws lanes, their axis and the minimap on canvases. It knows nothing of pointers, keys and the page.

import { scale, ticks } from './time_window.js';
import { middleCut, time, visible } from './format.js';

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';

/** A run of one task that is narrower gets no label. */
const NARROWEST_LABEL = 64;

/** Prepares a canvas for a size in CSS pixels. */
export function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

let kept_hatch = null;

/** Diagonal stripes: stalls differ from tasks by texture, too. */
export function hatch(context, color, paper) {
  const key = `${color} ${paper}`;
  if (kept_hatch?.key !== key) kept_hatch = { key, pattern: newHatch(context, color, paper) };
  return kept_hatch.pattern;
}

function newHatch(context, color, paper) {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const on_tile = tile.getContext('2d');
  on_tile.fillStyle = color;
  on_tile.fillRect(0, 0, 6, 6);
  on_tile.strokeStyle = paper;
  on_tile.globalAlpha = 0.55;
  on_tile.lineWidth = 1.2;
  on_tile.beginPath();
  for (const x of [-6, 0, 6]) {
    on_tile.moveTo(x, 6);
    on_tile.lineTo(x + 6, 0);
  }
  on_tile.stroke();
  return context.createPattern(tile, 'repeat');
}

/** The height of a lane: fewer lanes are taller. */
export function laneHeight(lanes) {
  if (lanes <= 6) return 36;
  if (lanes <= 12) return 26;
  return lanes <= 32 ? 20 : 14;
}

/** The axis above the lanes. */
export function drawAxis(canvas, { width, height, left, view, colors }) {
  const context = sized(canvas, width, height);
  const at = scale(view, left, width - left);
  const { step, all } = ticks(view, Math.max(2, (width - left) / 96));
  context.font = `11px ${FONT}`;
  context.textBaseline = 'middle';
  for (const tick of all) {
    const x = Math.round(at.x(tick)) + 0.5;
    context.strokeStyle = colors.line;
    line(context, x, height - 6, x, height);
    const text = time(tick, step < 1000 ? 2 : 0);
    const half = context.measureText(text).width / 2;
    if (x - half < left || x + half > width) continue;
    context.fillStyle = colors.faint;
    context.fillText(text, x - half, height / 2 - 2);
  }
}

/** The lanes `top`…: { lanes, timeline, view, selection, colors, width, height, left, top, pitch, labels, pointer }. */
export function drawLanes(canvas, scene) {
  const { lanes, width, height, left, top, pitch, colors, view } = scene;
  const context = sized(canvas, width, height);
  const stalled = hatch(context, colors.stall, colors.paper);
  const gap = pitch >= 20 ? 6 : 3;
  const first = Math.max(0, Math.floor(top / pitch));
  const last = Math.min(lanes.length, Math.ceil((top + height) / pitch));
  const at = scale(view, left, width - left);
  context.strokeStyle = colors.line;
  for (const tick of ticks(view, Math.max(2, (width - left) / 96)).all) {
    const x = Math.round(at.x(tick)) + 0.5;
    line(context, x, 0, x, height);
  }
  for (let index = first; index < last; index += 1) {
    const y = index * pitch - top;
    drawLane(context, { ...scene, lane: lanes[index], y: y + gap / 2, tall: pitch - gap, at, stalled });
    drawLabel(context, scene.labels[index], { y: y + pitch / 2, left, pitch, colors, is_pointed: scene.pointer?.lane === index });
  }
  drawSelection(context, scene, at);
  if (scene.pointer) {
    context.strokeStyle = colors.faint;
    const x = Math.round(scene.pointer.x) + 0.5;
    line(context, x, 0, x, height);
  }
}

function drawLane(context, { lane, timeline, y, tall, at, left, width, colors, stalled }) {
  const floor = y + tall;
  const start_x = Math.max(left, at.x(timeline.timeOf(lane.first)));
  const end_x = Math.min(width, at.x(timeline.timeOf(lane.first + lane.polling.length)));
  if (end_x <= left || start_x >= width) return;
  context.fillStyle = colors.lane;
  context.fillRect(start_x, y, end_x - start_x, tall);
  const bins_of = columns(lane, timeline, at, start_x, end_x);
  let run = null;
  const runs = [];
  for (const column of bins_of) {
    const { x, wide, polling, between, stall, task } = column;
    const up = (polling / 100) * tall;
    if (between > 0) {
      context.fillStyle = colors.between;
      context.fillRect(x, floor - up - (between / 100) * tall, wide, (between / 100) * tall);
    }
    if (up > 0) {
      context.fillStyle = task < 0 ? colors.faint : colors.tasks[task % colors.tasks.length];
      context.fillRect(x, floor - Math.max(up, 1), wide, Math.max(up, 1));
    }
    if (stall > 0) {
      // A thin foot in the color of the task stays: the stall is a part of its poll.
      const foot = tall >= 14 ? 3 : 0;
      const high = Math.max(2, (stall / 100) * tall - foot);
      context.fillStyle = stalled;
      context.fillRect(x, floor - foot - high, wide, high);
    }
    if (run && run.task === task && run.is_stall === stall > 0) run.to = x + wide;
    else {
      run = { task, is_stall: stall > 0, from: x, to: x + wide };
      runs.push(run);
    }
  }
  if (tall >= 18) drawNames(context, runs, { timeline, y, tall, colors });
}

/** One column for each bin, or for the bins in a pixel. A stall in any of them shows. */
function* columns(lane, timeline, at, start_x, end_x) {
  const pixel = at.time(1) - at.time(0);
  const per_column = Math.max(1, Math.ceil(pixel / timeline.interval));
  const begin = Math.max(0, Math.floor(timeline.binAt(at.time(start_x))) - lane.first);
  // Columns begin at multiples: otherwise the picture would flicker while it moves.
  const aligned = Math.max(0, begin - ((begin + lane.first) % per_column));
  const end = Math.min(lane.polling.length, Math.ceil(timeline.binAt(at.time(end_x))) - lane.first);
  for (let bin = aligned; bin < end; bin += per_column) {
    const stop = Math.min(end, bin + per_column);
    let [polling, between, stall, task, most] = [0, 0, 0, -1, -1];
    for (let index = bin; index < stop; index += 1) {
      polling += lane.polling[index];
      between += lane.between[index];
      if (lane.stalled[index] > stall) stall = lane.stalled[index];
      if (lane.task[index] >= 0 && lane.polling[index] > most) [task, most] = [lane.task[index], lane.polling[index]];
    }
    const x = snapped(Math.max(start_x, at.x(timeline.timeOf(lane.first + bin))));
    const right = snapped(Math.min(end_x, at.x(timeline.timeOf(lane.first + stop))));
    if (right <= x) continue;
    yield { x, wide: right - x, polling: polling / (stop - bin), between: between / (stop - bin), stall, task };
  }
}

function drawNames(context, runs, { timeline, y, tall, colors }) {
  context.font = `11px ${FONT}`;
  context.textBaseline = 'middle';
  context.lineJoin = 'round';
  for (const { task, is_stall, from, to } of runs) {
    if (to - from < NARROWEST_LABEL || task < 0) continue;
    const letters = Math.floor((to - from - 12) / 6.7);
    // Of a path, the file and its line say enough; of a request, all does.
    const task_name = timeline.tasks[task] ?? '';
    const name = visible(task_name.includes(' ') ? task_name : task_name.slice(task_name.lastIndexOf('/') + 1));
    const text = middleCut(is_stall ? `stall: ${name}` : name, letters);
    // The halo keeps the text legible on every color.
    context.strokeStyle = colors.paper;
    context.lineWidth = 3;
    context.strokeText(text, from + 6, y + tall / 2);
    context.fillStyle = colors.ink;
    context.fillText(text, from + 6, y + tall / 2);
  }
}

function drawLabel(context, label, { y, left, pitch, colors, is_pointed }) {
  context.clearRect(0, y - pitch / 2, left, pitch);
  context.font = `${is_pointed ? '600 ' : ''}${pitch >= 20 ? 12 : 11}px ${FONT}`;
  context.textBaseline = 'middle';
  context.fillStyle = is_pointed ? colors.ink : colors.faint;
  context.fillText(label, 0, y, left - 8);
}

function drawSelection(context, { selection, left, width, height, colors }, at) {
  if (!selection) return;
  const from = Math.min(width, Math.max(left, at.x(selection.from)));
  const to = Math.min(width, Math.max(left, at.x(selection.to)));
  context.globalAlpha = 0.6;
  context.fillStyle = colors.panel;
  context.fillRect(left, 0, from - left, height);
  context.fillRect(to, 0, width - to, height);
  context.globalAlpha = 1;
  context.fillStyle = colors.select;
  if (at.x(selection.from) >= left) context.fillRect(from - 1, 0, 2, height);
  if (at.x(selection.to) <= width) context.fillRect(to - 1, 0, 2, height);
}

/** All known time in one strip: how busy all workers are, and where one is stuck. */
export function drawMinimap(canvas, { width, height, left, extent, view, selection, timeline, colors }) {
  const context = sized(canvas, width, height);
  const at = scale(extent, left, width - left);
  context.fillStyle = colors.lane;
  context.fillRect(left, 0, width - left, height);
  const stalled = hatch(context, colors.stall, colors.paper);
  const lanes = timeline.lanes;
  for (let bin = timeline.first; bin < timeline.next; bin += 1) {
    let [busy, known, stall] = [0, 0, 0];
    for (const lane of lanes) {
      const index = bin - lane.first;
      if (index < 0 || index >= lane.polling.length) continue;
      known += 1;
      busy += lane.polling[index];
      if (lane.stalled[index] > stall) stall = lane.stalled[index];
    }
    if (known === 0) continue;
    const x = snapped(at.x(timeline.timeOf(bin)));
    const wide = snapped(at.x(timeline.timeOf(bin + 1))) - x;
    const up = (busy / known / 100) * (height - 4);
    context.fillStyle = colors.faint;
    context.fillRect(x, height - up, wide, up);
    if (stall > 0) {
      context.fillStyle = stalled;
      context.fillRect(x, 0, Math.max(wide, 1), height * 0.45);
    }
  }
  if (selection) {
    const from = Math.max(left, at.x(selection.from));
    context.fillStyle = colors.select;
    context.fillRect(from, height - 3, Math.max(2, Math.min(width, at.x(selection.to)) - from), 3);
  }
  const [from, to] = [at.x(view.from), at.x(view.to)];
  context.globalAlpha = 0.65;
  context.fillStyle = colors.panel;
  context.fillRect(left, 0, from - left, height);
  context.fillRect(to, 0, width - to, height);
  context.globalAlpha = 1;
  context.strokeStyle = colors.ink;
  context.lineWidth = 1;
  context.strokeRect(from + 0.5, 0.5, Math.max(2, to - from - 1), height - 1);
}

/** The nearest edge of a pixel: neighbors would show a seam otherwise. */
function snapped(x) {
  const ratio = window.devicePixelRatio || 1;
  return Math.round(x * ratio) / ratio;
}

function line(context, x1, y1, x2, y2) {
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
