/** What a step of a run says, one curve each: name, unit, and how a value is written. */

import type { Step } from './api'

export interface Metric {
  key: string
  /** As a heading has it. */
  name: string
  /** In a sentence. */
  word: string
  /** At the axis. */
  axis: string
  of: (step: Step) => number | null
  said: (value: number) => string
}

const GIB = 2 ** 30

const fixed = (digits: number) => (value: number) => value.toFixed(digits)

/** Four digits, whatever the size: learning rates and norms have any. */
export const short = (value: number): string =>
  value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e6)
    ? value.toExponential(2)
    : String(Number(value.toPrecision(4)))

export const LOSS: Metric = {
  key: 'loss',
  name: 'Loss',
  word: 'loss',
  axis: 'loss, nats per token',
  of: (step) => step.loss ?? null,
  said: fixed(3),
}

export const METRICS: readonly Metric[] = [
  LOSS,
  {
    key: 'grad_norm',
    name: 'Gradient norm',
    word: 'gradient norm',
    axis: 'norm before clipping',
    of: (step) => step.grad_norm ?? null,
    said: short,
  },
  {
    key: 'learning_rate',
    name: 'Learning rate',
    word: 'learning rate',
    axis: 'learning rate',
    of: (step) => step.learning_rate,
    said: short,
  },
  {
    key: 'tokens_per_second',
    name: 'Tokens/s',
    word: 'speed',
    axis: 'tokens per second',
    of: (step) => step.tokens_per_second,
    said: (value) => Math.round(value).toLocaleString('en'),
  },
  {
    key: 'mfu',
    name: 'MFU',
    word: 'utilisation',
    axis: 'percent of the peak',
    of: (step) => (step.mfu == null ? null : 100 * step.mfu),
    said: (value) => `${value.toFixed(1)} %`,
  },
  {
    key: 'peak_memory_bytes',
    name: 'Memory',
    word: 'peak memory',
    axis: 'peak, GiB',
    of: (step) => step.peak_memory_bytes / GIB,
    said: (value) => `${value.toFixed(2)} GiB`,
  },
  {
    key: 'balance',
    name: 'Rank balance',
    word: 'balance of the ranks',
    axis: 'mean over the busiest rank',
    of: (step) => step.balance ?? null,
    said: fixed(3),
  },
]

/** Those of the metrics that some step has: a processor has no peak to use a part of. */
export const present = (steps: readonly Step[]): Metric[] =>
  METRICS.filter((metric) => steps.some((step) => metric.of(step) !== null))

/** Steps that the speed of now is taken from. */
const RECENT = 50

/**
 * Seconds that are left: those that the last steps took, times the steps to come. What happened before a
 * pause or on another machine does not count, only what the last steps took.
 */
export function left(steps: readonly Step[], total: number): number | null {
  const last = steps.at(-1)
  if (!last) return null
  const recent = steps.slice(-RECENT).map((step) => step.seconds)
  const mean = recent.reduce((sum, seconds) => sum + seconds, 0) / recent.length
  return mean * Math.max(0, total - last.step - 1)
}

/** What differs between configurations: names with the value of each, in the order of the names. */
export function differences(
  configs: readonly Record<string, unknown>[],
): { name: string; values: string[] }[] {
  const names = [...new Set(configs.flatMap((config) => Object.keys(config)))].sort()
  const said = (value: unknown) =>
    value === undefined ? 'not set' : typeof value === 'string' ? value : JSON.stringify(value)
  return names
    .map((name) => ({ name, values: configs.map((config) => said(config[name])) }))
    .filter(({ values }) => values.some((value) => value !== values[0]))
}
