import { Eta } from 'eta'
import type { OAuthApp } from './grants.ts'
import type { User } from './people.ts'

const eta = new Eta({ autoEscape: true })

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#28272d}
header{color:#737278}button{font:inherit;padding:.5rem 1rem;margin:.25rem .5rem .25rem 0;cursor:pointer}form{display:inline}`

const compile = (body: string) =>
  eta.compile(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title><%= it.title %> · GitLab simulator</title>
<style>${STYLE}</style><%~ it.head %></head><body><header>GitLab simulator</header><main>${body}</main></body></html>`)

const render = (
  template: ReturnType<typeof compile>,
  data: { title: string; [name: string]: unknown },
): string => eta.render(template, { head: '', ...data })

const signIn = compile(`<h1>Sign in</h1><% if (it.alert) { %><p role="alert"><%= it.alert %></p><% } %>
<form method="post" action="<%= it.action %>"><input type="hidden" name="return_to" value="<%= it.returnTo %>">
<% for (const user of it.users) { %><button name="username" value="<%= user.username %>"><%= user.name %> (<%= user.username %>)</button><% } %>
</form>`)

export const signInPage = (data: {
  action: string
  returnTo: string
  users: User[]
  alert?: string
}): string => render(signIn, { title: 'Sign in', ...data })

const consent = compile(`<h1>Authorize <%= it.app.clientId %></h1>
<p>An application is asking for access to your account <strong><%= it.user.username %></strong>:</p>
<ul><% for (const scope of it.scopes) { %><li><%= scope %></li><% } %></ul>
<% for (const choice of it.choices) { %><form method="post" action="<%= it.action %>">
<% for (const [name, value] of choice.fields) { %><input type="hidden" name="<%= name %>" value="<%= value %>"><% } %>
<button><%= choice.label %></button></form><% } %>
<form method="post" action="<%= it.signOut %>"><input type="hidden" name="return_to" value="<%= it.returnTo %>">
<button>Use another account</button></form>`)

export const consentPage = (data: {
  app: OAuthApp
  user: User
  scopes: string[]
  action: string
  signOut: string
  returnTo: string
  parameters: Record<string, string>
}): string => {
  const fields = Object.entries(data.parameters)
  const choices = [
    { label: 'Authorize', fields },
    { label: 'Deny', fields: [['_method', 'delete'], ...fields] },
  ]
  return render(consent, { title: 'Authorize', ...data, choices })
}

const device =
  compile(`<h1>Authorize a device</h1><p>Signed in as <strong><%= it.user.username %></strong>.</p>
<form method="post" action="<%= it.action %>">
<% if (it.code) { %><input type="hidden" name="user_code" value="<%= it.userCode %>">
<p>An application is asking for access to your account:</p><p><%= it.code.clientId %></p>
<ul><% for (const scope of it.code.scopes) { %><li><%= scope %></li><% } %></ul>
<button name="answer" value="authorize">Authorize</button><button name="answer" value="deny">Deny</button>
<% } else { %><label>Code <input name="user_code" value="<%= it.userCode %>" autocomplete="off"></label>
<button>Continue</button><% } %></form>`)

/** Where a person enters the code of a device, and then answers. */
export const devicePage = (data: {
  action: string
  user: User
  userCode: string
  code: { clientId: string; scopes: string[] } | undefined
}): string => render(device, { title: 'Authorize a device', ...data })

const message = compile(`<h1><%= it.text %></h1>`)

export const messagePage = (text: string): string => render(message, { title: 'Authorize a device', text })

const redirect = compile(`<h1>Redirecting</h1><p><a href="<%= it.url %>">Click here to go on</a></p>`)
const refresh = eta.compile('<meta http-equiv="refresh" content="0; url=<%= it.url %>">')

/** GitLab renders this page, with 200, where one expects a 302. */
export const redirectPage = (url: string): string =>
  render(redirect, { title: 'Redirecting', url, head: eta.render(refresh, { url }) })

const failure = compile(`<h1>An error has occurred</h1><pre><%= it.description %></pre>`)

export const errorPage = (description: string): string => render(failure, { title: 'Error', description })
