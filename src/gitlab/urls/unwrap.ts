/**
 * Pure: what people and tools write around the URL of a repository. Each step takes one layer off; the steps are
 * repeated until none applies. Sources: the manuals of Git, Maven SCM, pip and PEP 508, npm, Cargo, Go, Terraform
 * (go-getter), Kustomize, Ansible, Renovate, Nix, Docker, Backstage, Slack and Markdown. No pattern here can backtrack
 * over more than the text once: whoever asks chooses the text.
 */

type Step = (text: string) => string

const LAYERS = 8
/** What most URLs are: nothing is around them. */
const BARE = /^https?:\/\/[\w.:-]+(?:\/[\w.~%-]+)*\/?(?<!\.)$/i

/** A URL with a scheme, or the user of an SSH address, begins here. */
const BEGINS = '(?=scm:|(?:[a-z][a-z0-9+.-]*:{1,2})?[a-z][a-z0-9+.-]*:\\/\\/|[\\w.+-]{1,64}@[\\w.-]+:|git::)'

const replace =
  (pattern: RegExp, by = ''): Step =>
  (text) =>
    text.replace(pattern, by)

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** `[text](url "title")`, `![image](url)` and Org's `[[url][text]]`. */
const withoutMarkup: Step = (text) => {
  const markdown = /^!?\[[^\]]*\]\(\s*<?([^\s)>]+)(?:[\s>][^)]*)?\)$/.exec(text)
  const asciidoc = /^(?:link:)?([a-z]+:\/\/[^\s[\]]+)\[[^\]]*\]$/i.exec(text)
  const org = /^\[\[([^\]]+)\](?:\[[^\]]*\])?\]$/.exec(text)
  const html = /^<a\s[^>]*?href=["']?([^"'\s>]+)/i.exec(text)
  return (markdown ?? asciidoc ?? org ?? html)?.[1] ?? text
}

const CLOSING = ' \t\r\n"\'`’”»>;,!?\\。，；、'
/** The end of a sentence, and what closes a quotation or bracket that was opened before. */
const withoutEnd: Step = (text) => {
  let length = text.length
  while (length > 0 && CLOSING.includes(text.charAt(length - 1))) length -= 1
  const end = text.slice(0, length)
  if (/[\w)\]}-]\.$/.test(end)) return end.slice(0, -1)
  const last = end.at(-1) ?? ''
  const opening = { ')': '(', ']': '[', '}': '{', '）': '（', '】': '【', '」': '「' }[last]
  return opening !== undefined && !end.slice(0, -1).includes(opening) ? end.slice(0, -1) : end
}

/** A bracket begins an SSH address with a port (`[git@host:22]:path`) or an address of IPv6, too. */
const withoutBeginning: Step = (text) => {
  const rest = text.replace(/^[\s"'`‘“«„<（【「\\]+/, '')
  const pair = { '(': ')', '{': '}', '[': ']' }[rest.at(0) ?? '']
  return pair !== undefined && rest.endsWith(pair) ? rest.slice(1, -1) : rest
}

/** `git clone --depth 1 <url> folder`, a line of `git remote -v`, `pip install -e <url>`: the first word that is a URL. */
const COMMAND =
  /^(?:\$\s+)?(?:(?:sudo\s+)?(?:git|pip3?|npm|yarn|pnpm|go|cargo|glab|docker|helm|kustomize|terraform|nix|ansible-galaxy)\s|-e\s|--editable[\s=]|origin\s|upstream\s)/i
const FIRST_URL =
  /(?:^|[\s="'<>([])((?:[a-z][a-z0-9+.-]*:{1,2}){0,2}[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+|(?:scm:git:)?[\w.+-]{1,64}@[\w.-]+:[^\s"'<>]+|git::[^\s"'<>]+)/i
/** The same of what withoutShorthand reads. To Git itself `gitlab:` is a host of SSH. */
const FIRST_SHORTHAND = /(?:^|[\s="'([])(gitlab[:>][\w.%-]+\/[^\s"'<>]+)/i
const BY_GIT = /^(?:\$\s+)?(?:sudo\s+)?git\s/i
const withoutCommand: Step = (text) => {
  if (!COMMAND.test(text)) return text
  const found = FIRST_URL.exec(text) ?? (BY_GIT.test(text) ? null : FIRST_SHORTHAND.exec(text))
  return found?.[1] ?? text
}

/** What is a URL already, in any scheme: nothing is looked for within. */
const IS_URL = /^(?:[a-z][a-z0-9+.-]*:(?:\/\/|:(?!\w+\()|[a-z])|[\w.+-]+@[\w.-]+:|pkg:)/i
const EACH_URL = new RegExp(FIRST_URL.source, 'gi')
/** `pod 'x', :git => '<url>'`, `<url>…</url>`, `.package(url: "<url>")`: the one URL of a statement, where there is one. */
const withoutStatement: Step = (text) => {
  if (IS_URL.test(text) || !/[\s"'<>=(]/.test(text)) return text
  const urls = new Set(Array.from(text.matchAll(EACH_URL), ([, url = '']) => url))
  const [only, another] = urls
  if (only === undefined) return BY_GIT.test(text) ? text : (FIRST_SHORTHAND.exec(text)?.[1] ?? text)
  return another === undefined ? only : text
}

/** `go get host/group/project@v1`, and `host/group/project v1.2.3` of a go.mod. */
const withoutGo: Step = (text) => {
  const module = text.replace(/^(?:go\s(?:get|install|run)|require|replace)\s(?:-\w+\s)*/i, '')
  return /^([\w.-]+\.[a-z]{2,}\/\S+)\sv\d\S*(?:\s\/\/ indirect)?$/i.exec(module)?.[1] ?? module
}

/** Schemes that hand a URL to a program: GitLab's own buttons "Open in your IDE", and those of Git clients. */
const HANDED_TO_A_PROGRAM =
  /^(?:vscode|vscode-insiders|vscodium|cursor|windsurf|jetbrains|idea|webstorm|pycharm|goland|rider|xcode|git-client|sourcetree|smartgit|gitkraken|tower):\/\/[^?#]*\?(?:[^#]*&)?(?:url|repo|clone_?url|checkout\.repo)=([^&#]+)/i
const withoutProgram: Step = (text) => {
  const given = HANDED_TO_A_PROGRAM.exec(text)?.[1]
  return given === undefined ? text : decoded(given)
}

/** `gitlab:group/project` of npm, Composer and Nix (which names another server by ?host=), `gitlab>…` of Renovate. */
const withoutShorthand: Step = (text) => {
  const [, path, query = ''] =
    /^gitlab[:>](?!\/\/)(?:[^/@\s]*@)?([\w.%-]+\/[^?#\s:]+)[^?]*(\?[^#]*)?/i.exec(text) ?? []
  if (path === undefined) return text
  const host = new URLSearchParams(query).get('host')
  // Nix encodes the slashes of the owner, so that a ref can follow the repository.
  const isNix =
    /^\?(?:[^#]*&)?(?:host|dir|ref|rev|narHash|lastModified)=/.test(query) || /^[^/]*%2f/i.test(path)
  const place = isNix ? path.split('/').slice(0, 2).join('/') : path
  return host === null || /^[\w.:-]+$/.test(host) ? `https://${host ?? 'gitlab.com'}/${place}` : text
}

/** A package URL names where its source is in `vcs_url`, and a Go module is named by its address. */
const withoutPackageUrl: Step = (text) => {
  if (!/^pkg:/i.test(text)) return text
  const source = /[?&]vcs_url=([^&#]+)/i.exec(text)?.[1]
  if (source !== undefined) return decoded(source)
  return text.replace(/^pkg:golang\//i, 'https://').replace(/^pkg:gitlab\//i, 'https://gitlab.com/')
}

/** A URL as the value of a query or form field, taken along with its encoding. */
const withoutEncoding: Step = (text) =>
  /^(?:[a-z][a-z0-9+.-]*%3a%2f%2f|[\w.-]+%40[\w.-]+%3a)/i.test(text) ? decoded(text) : text

/** Spaces, and marks without width that chats and documents put in. */
const withoutSpace: Step = (text) =>
  text.trim().replace(/^[\u200b-\u200f\u2060\ufeff]+|[\u200b-\u200f\u2060\ufeff]+$/g, '')

const STEPS: Step[] = [
  withoutSpace,
  withoutEncoding,
  withoutMarkup,
  withoutEnd,
  withoutBeginning,
  withoutCommand,
  // .gitmodules and manifests: `url = …`, `remote: …`, `"repository": "…"`
  replace(
    new RegExp(
      `^"?(?:url|uri|git|repo|repository|remote|source|origin|repoURL|gitUrl|connection|developerConnection)"?\\s*(?:=>|[=:])\\s*["']?${BEGINS}`,
      'i',
    ),
  ),
  // PEP 508 and aliases of npm and Yarn: `name[extra] @ url`, `@scope/name@url`
  replace(
    /^(?:@[\w.-]+\/)?[\w.-]+(?:\[[\w, -]*\])?\s*@\s*(?=(?:git\+|git:)?(?:https?|ssh|git|git\+\w+):\/\/|git\+|git::|[\w.+-]{1,64}@[\w.-]+:)/i,
  ),
  // Output of git push, and variables of a shell that hold no scheme: GOPRIVATE=host/group/project
  replace(/^(?:To|From)\s+(?=[^\s"']+$)/),
  replace(/^(?:export\s+)?[A-Z][A-Z0-9_]*=(?=[\w.-]+\.[a-z]{2,}[/:][^\s,]+$)/),
  // CI/CD components: `component: host/group/project/name@version`
  replace(/^-?\s*"?component"?:\s*["']?(?=[\w.-]+\.[a-z]{2,}\/)/i),
  // Aliases of npm: `@scope/name@gitlab:group/project`. Without a scope the name would be a user of SSH.
  replace(/^@[\w.-]+\/[\w.-]+@(?=gitlab:\w)/i),
  // Maven: scm:git:url, scm:git|url, scm:git:[fetch=]url[push=]url
  replace(/^scm:(?:git[:|])?/i),
  replace(/^\[fetch=\]([^[\]]+)(?:\[push=\].*)?$/i, '$1'),
  replace(/^\[push=\][^[\]]+\[fetch=\]/i),
  replace(
    /^(?:git|vcs|url|view-source|link):{1,2}(?=(?:git\+|git::)?[a-z][a-z0-9+.-]*:\/\/|[\w.+-]+@[\w.-]+:)/i,
  ),
  replace(/^git::(?!\/)/i),
  replace(
    /^(?:git|gitlab|vcs|pip|cargo|registry|sparse|tarball)\+(?=(?:https?|ssh|git):\/\/|[\w.+-]+@[\w.-]+:)/i,
  ),
  replace(/^ssh\+git:\/\//i, 'ssh://'),
  replace(/^x-github-client:\/\/openRepo\//i),
  replace(/^https:\/\/(?:gitpod\.io|app\.gitpod\.io)\/#(?:\/)?(?=https?:\/\/)/i),
  // Slack: <url|text>
  replace(/^([a-z][a-z0-9+.-]*:\/\/[^|\s]+)\|.*$/i, '$1'),
  withoutProgram,
  withoutShorthand,
  withoutPackageUrl,
  withoutGo,
  withoutStatement,
]

/** The URL itself, out of what a person or a tool wrote. */
export const unwrapUrl = (text: string): string => {
  let rest = text
  for (let layer = 0; layer < LAYERS && !BARE.test(rest); layer += 1) {
    const unwrapped = STEPS.reduce((before, step) => step(before), rest)
    if (unwrapped === rest) return rest
    rest = unwrapped
  }
  return rest
}
