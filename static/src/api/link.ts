/** The `Link` header, which names the pages before and after a list. */

export interface Cursors {
  next: string | null
  previous: string | null
}

/** Returns the cursors of a `Link` header; null where it names no page. */
export function cursorsOf(link: string | null): Cursors {
  const cursors: Cursors = { next: null, previous: null }
  for (const [, address, relation] of (link ?? '').matchAll(/<([^>]*)>;\s*rel="(\w+)"/g)) {
    const cursor = new URLSearchParams(address?.split('?')[1]).get('cursor')
    if (relation === 'next') cursors.next = cursor
    if (relation === 'prev') cursors.previous = cursor
  }
  return cursors
}
