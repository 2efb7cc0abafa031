// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp } from 'vue'

import { hasFailedPart } from '../router'
import { LazyRacerSearch } from './lazy'

vi.mock('./RacerSearch.vue', () => {
  throw new Error('no such script')
})

it('a part whose script cannot be loaded asks to load the page again', async () => {
  const app = createApp(LazyRacerSearch, { label: 'Find' })
  app.config.errorHandler = () => {} // otherwise the error would fail the test
  app.mount(document.createElement('div'))
  await vi.waitFor(() => expect(hasFailedPart.value).toBe(true))
  app.unmount()
})
