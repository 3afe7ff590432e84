/**
 * The two sizes a rehearsal is started in from here.
 *
 * The quick look runs the same stages on a fraction of the questions and steps: it shows that everything
 * works on this machine, and its scores mean nothing.
 */

export type Scale = 'whole' | 'quick'

/**
 * What the quick look changes, as `--set` on the command line. The held-out problems stay those of the
 * whole rehearsal: a problem that was trained on here must not be asked there.
 */
export const QUICK: Record<string, number> = {
  'questions.rehearsal.math': 480,
  'questions.rehearsal.code': 24,
  'questions.rehearsal.puzzle': 12,
  'questions.rehearsal.science': 12,
  'train.steps': 40,
  'evaluate.problems_per_family': 4,
  'evaluate.samples': 1,
}

export const changes = (scale: Scale): Record<string, number> => (scale === 'quick' ? QUICK : {})

/** The command line that starts the same jobs. */
export function command(scale: Scale): string {
  const sets = Object.entries(changes(scale)).map(([path, value]) => ` --set ${path}=${value}`)
  return `thinkery run rehearsal${sets.join('')}`
}

/** Whether a training job was that of a quick look, by the configuration it really ran with. */
export function isQuick(config: unknown): boolean {
  const steps = (config as { steps?: unknown } | null | undefined)?.steps
  return steps === QUICK['train.steps']
}
