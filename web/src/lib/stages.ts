/** What the strip says of each stage: one figure with its unit, and a line below. */

import type { Stage, StageStatus, Status } from './api'
import { count, duration } from './format'

export const stageNames: Record<Stage, string> = {
  questions: 'Questions',
  distill: 'Distill',
  verify: 'Verify',
  dataset: 'Dataset',
  train: 'Train',
  evaluate: 'Evaluate',
  serve: 'Serve',
}

export interface Facts {
  figure: string
  unit: string
  detail: string
}

const NONE = '–'

export function facts(stage: StageStatus, status: Status): Facts {
  const { counts } = status
  switch (stage.stage) {
    case 'questions':
      return {
        figure: figure(counts.questions.total),
        unit: 'questions',
        detail: counts.questions.held_out ? `${count(counts.questions.held_out)} held out` : '',
      }
    case 'distill':
      return {
        figure: figure(counts.traces.total),
        unit: 'traces',
        detail: counts.traces.truncated ? `${count(counts.traces.truncated)} cut off` : '',
      }
    case 'verify':
      return {
        figure: counts.verdicts.total ? count(counts.verdicts.correct) : NONE,
        unit: 'correct',
        detail: verdicts(status),
      }
    case 'dataset':
      return datasetFacts(status)
    case 'train':
      return trainFacts(status)
    case 'evaluate':
      return evaluateFacts(status)
    case 'serve':
      return {
        figure: status.served ? 'Ready' : NONE,
        unit: '',
        detail: status.served ? status.served.name : '',
      }
  }
}

function figure(n: number): string {
  return n ? count(n) : NONE
}

function verdicts({ counts: { verdicts } }: Status): string {
  if (!verdicts.total) return ''
  const parts = [
    [verdicts.wrong, 'wrong'],
    [verdicts.unreadable, 'unreadable'],
    [verdicts.unchecked, 'unchecked'],
  ] as const
  return parts
    .filter(([n]) => n > 0)
    .map(([n, word]) => `${count(n)}\u00a0${word}`)
    .join(', ')
}

function datasetFacts(status: Status): Facts {
  const verified = status.datasets.find((dataset) => dataset.arm === 'verified')
  const everything = status.datasets.find((dataset) => dataset.arm === 'unverified')
  return {
    figure: verified ? count(verified.rows) : NONE,
    unit: 'verified rows',
    detail: everything ? `${count(everything.rows)} unverified` : '',
  }
}

function trainFacts(status: Status): Facts {
  const names = new Set<string>()
  let done = 0
  let total = 0
  for (const run of status.runs) {
    if (names.has(run.name) || run.steps_total === 0) continue
    names.add(run.name)
    done += run.steps_done
    total += run.steps_total
  }
  const running = status.runs.find((run) => run.state === 'running' && run.last_loss != null)
  return {
    figure: total ? count(done) : NONE,
    unit: total ? `of ${count(total)} steps` : 'steps',
    detail: running ? `loss ${running.last_loss?.toFixed(2)}` : '',
  }
}

function evaluateFacts(status: Status): Facts {
  const overall = status.scores.filter((score) => !score.benchmark.includes('/'))
  const best = overall.find((score) => score.model === 'verified') ?? overall.at(-1)
  return {
    figure: best ? `${best.mean.toFixed(1)} %` : NONE,
    unit: best ? best.model : 'score',
    detail: best ? `± ${best.standard_error.toFixed(1)}, n = ${count(best.n)}` : '',
  }
}

/** How long a stage has taken or takes. */
export function took(stage: StageStatus, now: number): string {
  if (!stage.started_at || stage.state === 'idle' || stage.state === 'queued') return ''
  const end = stage.finished_at ? Date.parse(stage.finished_at) : now
  return duration(Math.max(0, (end - Date.parse(stage.started_at)) / 1000))
}
