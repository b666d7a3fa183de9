// The numbers behind a cause, as short facts.

import { count, duration, plural } from './format.js';

const STATES = { R: 'running', S: 'sleeping', D: 'in a wait that no signal ends', T: 'stopped', Z: 'ended', I: 'idle' };

/** { name, value } for each known number that says something. */
export function evidenceFacts(evidence) {
  const facts = [];
  const add = (name, value) => facts.push({ name, value });
  const addTime = (name, ms) => { if (ms !== null && ms !== undefined && ms >= 0.05) add(name, duration(ms)); };
  addTime('on a CPU', evidence.on_cpu_ms);
  addTime('of it in the kernel', evidence.in_kernel_ms);
  for (const wait of evidence.waits) add('waited', `${duration(wait.ms)} in ${wait.place}`);
  addTime('ready, but other threads had the CPU', evidence.run_queue_ms);
  addTime('held back by the CPU quota', evidence.throttled_ms);
  addTime('CPU taken by the hypervisor', evidence.stolen_ms);
  addTime('ready without a CPU otherwise', evidence.starved_ms);
  addTime('asleep at the last sample', evidence.asleep_ms);
  if (evidence.minor_faults) add('page faults without a disk read', count(evidence.minor_faults));
  addTime('of CPU time in them, at least', evidence.fault_ms);
  if (evidence.major_faults) add('page faults with a disk read', count(evidence.major_faults));
  if (evidence.state) add('state at the last sample', STATES[evidence.state] ?? evidence.state);
  add('observed', `${duration(evidence.window_ms)} in ${plural(evidence.samples, 'sample')}`);
  if (evidence.watchdog_late_ms >= 1) add('holdup itself was late by', duration(evidence.watchdog_late_ms));
  return facts;
}

