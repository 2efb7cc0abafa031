/** Moves the focus to the view, where the element that had it goes away. */
export function focusView(): void {
  document.getElementById('main')?.focus()
}
