import { expect, it } from 'vitest'

import { cursorsOf } from './link'

it('names the pages before and after', () => {
  const link = '<races?limit=8&cursor=A_b-1>; rel="next", <races?cursor=Z&limit=8>; rel="prev"'
  expect(cursorsOf(link)).toEqual({ next: 'A_b-1', previous: 'Z' })
  expect(cursorsOf('<?cursor=A>; rel="next"')).toEqual({ next: 'A', previous: null })
})

it('names none without the header, or without a cursor', () => {
  const none = { next: null, previous: null }
  expect(cursorsOf(null)).toEqual(none)
  expect(cursorsOf('<other>; rel="next"')).toEqual(none)
})
