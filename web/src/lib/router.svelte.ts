/** The path router: the address bar owns the state, links stay plain `<a href>`. */

import { match, type Route } from './routes'

class Router {
  path = $state(location.pathname)
  route: Route = $derived(match(this.path))

  constructor() {
    addEventListener('popstate', () => (this.path = location.pathname))
    document.addEventListener('click', (event) => this.#click(event))
  }

  go(path: string, replace = false) {
    if (replace) history.replaceState(null, '', path)
    else if (path !== location.pathname + location.search) history.pushState(null, '', path)
    this.path = location.pathname
    scrollTo(0, 0)
  }

  #click(event: MouseEvent) {
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = (event.target as Element | null)?.closest?.('a')
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin)
      return
    if (link.hash && link.pathname === location.pathname) return
    if (/^\/(api|v1|assets)\//.test(link.pathname)) return
    event.preventDefault()
    this.go(link.pathname + link.search)
  }
}

export const router = new Router()
