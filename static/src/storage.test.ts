// @vitest-environment happy-dom
import { expect, it } from 'vitest'

import { theme } from './state/theme'
import { storedText } from './storage'

it('a text is kept at once, and null is not', () => {
  const text = storedText<string | null>('a', null)
  text.value = 'b'
  expect(localStorage.getItem('a')).toBe('b')
  expect(storedText('a', 'other').value).toBe('b')
  text.value = null
  expect(localStorage.getItem('a')).toBeNull()
})

it('the colours follow another tab', () => {
  const send = (newValue: string | null, key = 'alleycat.theme') =>
    dispatchEvent(new StorageEvent('storage', { key, newValue }))
  send('dark')
  expect(theme.value).toBe('dark')
  send(null)
  expect(theme.value).toBe('auto')
  send('purple')
  expect(theme.value).toBe('auto')
  send('dark', 'alleycat.class')
  expect(theme.value).toBe('auto')
})

it('the change of another tab is not written, which would be a change for that tab', () => {
  localStorage.setItem('alleycat.theme', 'light')
  const newValue = 'dark'
  dispatchEvent(new StorageEvent('storage', { key: 'alleycat.theme', newValue }))
  expect(theme.value).toBe('dark')
  expect(localStorage.getItem('alleycat.theme')).toBe('light')
  theme.value = 'dark'
  expect(localStorage.getItem('alleycat.theme')).toBe('dark')
})

it('a text follows no other tab, and is of the device, unless that is asked for', () => {
  const own = storedText<string>('own', '')
  const ofTab = storedText<string>('tab', '', { kind: 'sessionStorage' })
  ofTab.value = 'a'
  expect([localStorage.getItem('tab'), sessionStorage.getItem('tab')]).toEqual([null, 'a'])
  dispatchEvent(new StorageEvent('storage', { key: 'own', newValue: 'b' }))
  expect(own.value).toBe('')
})
