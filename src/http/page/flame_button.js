// Buttons without work at the moment.

/** Such a button keeps the focus: a `disabled` one would drop it, and the next key would start at the top of the page. */
export function setDisabled(button, is_disabled) {
  if (is_disabled) button.setAttribute('aria-disabled', 'true');
  else button.removeAttribute('aria-disabled');
}

/** Whether a button has no work. */
export function isDisabled(button) {
  return button.getAttribute('aria-disabled') === 'true';
}
