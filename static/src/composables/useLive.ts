/** Live changes of a class, for as long as the page may read. */
import { onScopeDispose, watch } from 'vue'

import { subscribe, type Subscriber } from '../api/live'
import { service } from '../state/service'

/** Subscribes to a class until the scope ends. A locked page has no connection: the next key opens another. */
export function useLive(classId: number, subscriber: Subscriber): void {
  let unsubscribe: (() => void) | null = null
  function end(): void {
    unsubscribe?.()
    unsubscribe = null
  }
  watch(
    () => service.state === 'locked',
    (isLocked) => {
      if (!isLocked) unsubscribe = subscribe(classId, subscriber)
      else if (unsubscribe) {
        end()
        subscriber.closed?.()
      }
    },
    { immediate: true },
  )
  onScopeDispose(end)
}
