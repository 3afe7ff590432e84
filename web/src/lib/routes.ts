/** Which page a path means. Every page has an address; an unknown address has a page that says so. */

export type Route =
  | { page: 'dashboard' }
  | { page: 'jobs' }
  | { page: 'job'; id: number }
  | { page: 'verify' }
  | { page: 'train' }
  | { page: 'run'; id: number }
  | { page: 'compare'; ids: number[] }
  | { page: 'trace'; id: number }
  | { page: 'models' }
  | { page: 'chat' }
  | { page: 'setup' }
  | { page: 'login' }
  | { page: 'missing'; path: string }

export function match(path: string): Route {
  const parts = path.split('/').filter(Boolean)
  const [first, second] = parts
  if (parts.length === 0) return { page: 'dashboard' }
  if (
    parts.length === 1 &&
    (first === 'jobs' ||
      first === 'verify' ||
      first === 'models' ||
      first === 'train' ||
      first === 'chat' ||
      first === 'setup' ||
      first === 'login')
  ) {
    return { page: first }
  }
  if (parts.length === 2 && first === 'jobs' && second && /^\d{1,15}$/.test(second)) {
    return { page: 'job', id: Number(second) }
  }
  if (parts.length === 2 && first === 'traces' && second && /^\d{1,15}$/.test(second)) {
    return { page: 'trace', id: Number(second) }
  }
  if (parts.length === 2 && first === 'runs' && second && /^\d{1,15}$/.test(second)) {
    return { page: 'run', id: Number(second) }
  }
  if (
    parts.length === 2 &&
    first === 'compare' &&
    second &&
    /^\d{1,15}(,\d{1,15})+$/.test(second)
  ) {
    return { page: 'compare', ids: [...new Set(second.split(',').map(Number))] }
  }
  return { page: 'missing', path }
}

export function title(route: Route): string {
  switch (route.page) {
    case 'dashboard':
      return 'Dashboard'
    case 'jobs':
      return 'Jobs'
    case 'job':
      return `Job ${route.id}`
    case 'verify':
      return 'Verify'
    case 'train':
      return 'Train'
    case 'run':
      return `Run ${route.id}`
    case 'compare':
      return 'Compare runs'
    case 'trace':
      return `Trace ${route.id}`
    case 'models':
      return 'Models'
    case 'chat':
      return 'Chat'
    case 'setup':
      return 'Set up'
    case 'login':
      return 'Log in'
    case 'missing':
      return 'Not found'
  }
}
