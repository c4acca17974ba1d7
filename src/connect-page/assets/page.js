// What the page does beyond forms and links: showing a secret on demand, and forgetting it.

for (const button of document.querySelectorAll('[data-reveal]')) {
  const field = document.getElementById(button.dataset.reveal)
  button.hidden = false
  button.addEventListener('click', () => {
    const reveals = field.type === 'password'
    field.type = reveals ? 'text' : 'password'
    button.setAttribute('aria-pressed', String(reveals))
    field.focus()
  })
}

// A page that the back button brings back from memory still holds what was typed.
addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return
  for (const form of document.forms) form.reset()
})

// One press, one request; shown as busy, since GitLab is asked meanwhile.
addEventListener('submit', ({ target, submitter }) => {
  for (const field of target.querySelectorAll('[data-reveal]')) {
    const secret = document.getElementById(field.dataset.reveal)
    secret.type = 'password'
  }
  submitter?.setAttribute('aria-busy', 'true')
})

// A token goes to no server while its address is being typed. The report asks again when the field is left.
for (const field of document.querySelectorAll('[data-names-server]')) {
  const report = field.form.querySelector('.report')
  let asked = field.value
  const isBeingTyped = () => document.activeElement === field
  report.addEventListener('htmx:configRequest', (event) => {
    if (!isBeingTyped()) return
    event.preventDefault()
    asked = undefined
  })
  field.addEventListener('blur', () => {
    if (asked === field.value) return
    asked = field.value
    report.dispatchEvent(new Event('recheck'))
  })
}

// A report suggests what a field could hold. Whoever presses the button has named it.
addEventListener('click', ({ target }) => {
  const button = target.closest('[data-fills]')
  const field = button?.form.elements[button.dataset.fills]
  if (!field) return
  field.value = button.value
  field.dispatchEvent(new Event('input', { bubbles: true }))
  field.dispatchEvent(new Event('blur'))
  if (!('namesServer' in field.dataset)) field.focus()
})

// "Create one" leads to the GitLab whose address is in the form.
for (const link of document.querySelectorAll('[data-follows]')) {
  const path = link.href.slice(link.href.indexOf('/-/'))
  const field = document.getElementById(link.dataset.follows)
  field.addEventListener('input', () => {
    const base = field.value.trim().replace(/\/(-|users|groups|explore|dashboard)(\/.*)?$|\/+$/, '')
    if (/^https?:\/\//i.test(base) && URL.canParse(base)) link.href = base + path
  })
}

// What refreshes itself takes no focus from a person who is in it.
addEventListener('htmx:oobBeforeSwap', (event) => {
  if (event.target.contains(document.activeElement)) event.detail.shouldSwap = false
})

// Who is signed out meanwhile sees so, and nothing is asked any more.
addEventListener('htmx:responseError', ({ target, detail }) => {
  if (target.id === 'reading' && [401, 403, 404].includes(detail.xhr.status)) location.reload()
})
