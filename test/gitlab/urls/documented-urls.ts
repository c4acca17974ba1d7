/**
 * URLs as people and tools write them, and what GitLab takes for the path of the project or group (by its routes:
 * config/routes, lib/gitlab/path_regex.rb, lib/gitlab/repo_path.rb). One URL a line.
 */
export type Documented = {
  source: string
  baseUrl: string
  path: string
  /** What GitLab takes where such a project or group exists. */
  uncutPath?: string
  urls: string[]
}

/** What is registered while these are read. */
export const REGISTERED = [
  { base_url: 'https://gitlab.com', ssh_hosts: ['altssh.gitlab.com'] },
  { base_url: 'https://git.example.com/gitlab', ssh_hosts: [] },
  { base_url: 'https://code.example.org', ssh_hosts: ['ssh.example.org:2222'] },
  { base_url: 'https://code.example.org:8443', ssh_hosts: ['ssh8443.example.org'] },
  { base_url: 'http://10.0.0.5:8080', ssh_hosts: [] },
  { base_url: 'https://both.example.net', ssh_hosts: ['both.example.net:22'] },
  { base_url: 'https://both.example.net/gitlab', ssh_hosts: ['both.example.net:2222'] },
  { base_url: 'https://tools.example.net/dev/gitlab', ssh_hosts: [] },
]

const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/^ {2}/, ''))
    .filter((line) => line !== '')

const at =
  (baseUrl: string) =>
  (source: string, path: string | [path: string, uncutPath: string], text: string): Documented =>
    Array.isArray(path)
      ? { source, baseUrl, path: path[0], uncutPath: path[1], urls: lines(text) }
      : { source, baseUrl, path, urls: lines(text) }

const gitlabCom = at('https://gitlab.com')
const underPath = at('https://git.example.com/gitlab')
const code = at('https://code.example.org')
const port = at('https://code.example.org:8443')
const plain = at('http://10.0.0.5:8080')

const NEWER_TOOLS = [
  gitlabCom(
    'Bazel, Nix, Julia, R, Elixir, Cargo, Jenkins, Argo CD, Flux, Renovate, shells',
    'acme/web-shop',
    `
  git_repository(name = "x", remote = "https://gitlab.com/acme/web-shop.git", commit = "abc")
  http_archive(name = "x", urls = ["https://gitlab.com/acme/web-shop/-/archive/v1/web-shop-v1.tar.gz"])
  inputs.x.url = "gitlab:acme/web-shop";
  inputs.x.url = "git+https://gitlab.com/acme/web-shop?ref=main&rev=abc";
  gitlab:acme/web-shop/v1.2?dir=nix
  gitlab:acme/web-shop/main?narHash=sha256-FAKE
  builtins.fetchGit { url = "git@gitlab.com:acme/web-shop.git"; ref = "main"; }
  tarball+https://gitlab.com/acme/web-shop/-/archive/main/web-shop.tar.gz
  Pkg.add(url="https://gitlab.com/acme/web-shop.git")
  devtools::install_git("https://gitlab.com/acme/web-shop.git")
  {:git, "https://gitlab.com/acme/web-shop.git", tag: "1"}
  registry+https://gitlab.com/acme/web-shop.git
  sparse+https://gitlab.com/api/v4/projects/acme%2Fweb-shop/packages/cargo/
  checkout scmGit(userRemoteConfigs: [[credentialsId: 'x', url: 'git@gitlab.com:acme/web-shop.git']])
  argocd app create x --repo https://gitlab.com/acme/web-shop.git --path guestbook
  flux create source git x --url=ssh://git@gitlab.com/acme/web-shop
  extends: ["gitlab>acme/web-shop:preset"]
  GOPRIVATE=gitlab.com/acme/web-shop
  export REPO=https://gitlab.com/acme/web-shop.git
  To gitlab.com:acme/web-shop.git
  fatal: could not read Username for 'https://gitlab.com/acme/web-shop.git': x
  gitlab.com/acme/web-shop.git/v2@v2.0.1
  uv pip install git+ssh://git@gitlab.com/acme/web-shop
  `,
  ),
  gitlabCom(
    'npm, Yarn, pnpm, Bun',
    'acme/web-shop',
    `
  "web-shop": "gitlab:acme/web-shop#semver:^2"
  "web-shop": "git+https://gitlab.com/acme/web-shop.git#v1&path:packages/x"
  @acme/web-shop@gitlab:acme/web-shop#v1
  web-shop@git@gitlab.com:acme/web-shop.git#commit=abc
  pnpm add gitlab:acme/web-shop#main
  bun add git+ssh://git@gitlab.com:acme/web-shop.git
  yarn add https://gitlab.com/acme/web-shop.git#workspace=x&commit=abc
  `,
  ),
  gitlabCom(
    'marks of Chinese and Japanese',
    'acme/web-shop',
    `
  （https://gitlab.com/acme/web-shop）
  「https://gitlab.com/acme/web-shop」
  https://gitlab.com/acme/web-shop。
  `,
  ),
  gitlabCom(
    'a component of CI/CD',
    'acme/web-shop/scan',
    'component: gitlab.com/acme/web-shop/scan@1.0\n- component: gitlab.com/acme/web-shop/scan@~latest',
  ),
]

const FORMS = [
  gitlabCom(
    'HTTPS',
    'acme/web-shop',
    `
  https://gitlab.com/acme/web-shop
  https://gitlab.com/acme/web-shop.git
  https://gitlab.com/acme/web-shop/
  https://gitlab.com/acme/web-shop.git/
  https://gitlab.com/acme/web-shop.GIT
  HTTPS://GITLAB.COM/acme/web-shop
  https://GitLab.com/acme/web-shop.git
  https://gitlab.com:443/acme/web-shop.git
  https://gitlab.com:0443/acme/web-shop.git
  https://gitlab.com:/acme/web-shop.git
  https://gitlab.com./acme/web-shop.git
  https://gitlab.com.:443/acme/web-shop.git
  https://gitlab.com//acme/web-shop.git
  https://gitlab.com/acme/web-shop//
  https://gitlab.com/acme//web-shop
  https://gitlab.com//acme//web-shop
  https://gitlab.com/acme/web-shop/.git
  https://gitlab.com/acme/web-shop/.git/
  https://gitlab.com/acme/web-shop/.git/config
  https://gitlab.com/acme%2Fweb-shop
  https://gitlab.com/acme%2fweb-shop.git
  https://gitlab.com/acme%252Fweb-shop
  https://gitlab.com/%61cme/web%2Dshop
  https://gitlab.com/acme/web-shop?
  https://gitlab.com/acme/web-shop#
  https://gitlab.com/acme/web-shop?ref=main#top
  https://gitlab.com/acme/web-shop.git?ref=main
  https://gitlab.com/acme/web-shop.git#main
  gitlab.com/acme/web-shop
  gitlab.com/acme/web-shop.git
  gitlab.com:443/acme/web-shop
  GitLab.com/acme/web-shop/
  //gitlab.com/acme/web-shop.git
  https://oauth2@gitlab.com/acme/web-shop.git
  https://oauth2:FAKE-token@gitlab.com/acme/web-shop.git
  https://gitlab-ci-token:FAKE-token@gitlab.com/acme/web-shop.git
  https://gitlab-ci-token:\${CI_JOB_TOKEN}@gitlab.com/acme/web-shop.git
  https://gitlab+deploy-token-1:FAKE-token@gitlab.com/acme/web-shop.git
  https://maria%40acme.example:FAKE%2Fword@gitlab.com/acme/web-shop.git
  https://:FAKE-token@gitlab.com/acme/web-shop.git
  https://FAKE-token:@gitlab.com/acme/web-shop.git
  https://FAKE-token:x-oauth-basic@gitlab.com/acme/web-shop.git
  `,
  ),
  gitlabCom(
    'case',
    'Acme/Web-Shop',
    'https://gitlab.com/Acme/Web-Shop.git\ngit@gitlab.com:Acme/Web-Shop.git',
  ),
  gitlabCom(
    'names that GitLab allows',
    'a.b_c/-odd.name_/x',
    'https://gitlab.com/a.b_c/-odd.name_/x.git\ngit@gitlab.com:a.b_c/-odd.name_/x.git',
  ),
  gitlabCom(
    'deep groups',
    'acme/platform/team-a/tools/web-shop',
    `
  https://gitlab.com/acme/platform/team-a/tools/web-shop
  https://gitlab.com/acme/platform/team-a/tools/web-shop.git
  https://gitlab.com/acme/platform/team-a/tools/web-shop/-/tree/main
  https://gitlab.com/acme/platform/team-a/tools/web-shop/tree/main/src
  https://gitlab.com/acme/platform/team-a/tools/web-shop.git/info/refs?service=git-upload-pack
  https://gitlab.com/api/v4/projects/acme%2Fplatform%2Fteam-a%2Ftools%2Fweb-shop
  git@gitlab.com:acme/platform/team-a/tools/web-shop.git
  ssh://git@gitlab.com/acme/platform/team-a/tools/web-shop.git
  git::https://gitlab.com/acme/platform/team-a/tools/web-shop.git//vpc?ref=v1
  gitlab.com/acme/platform/team-a/tools/web-shop.git/v2
  `,
  ),
  gitlabCom(
    'SSH',
    'acme/web-shop',
    `
  git@gitlab.com:acme/web-shop.git
  git@gitlab.com:acme/web-shop
  git@gitlab.com:/acme/web-shop.git
  git@gitlab.com:acme/web-shop.git/
  git@GitLab.com:acme/web-shop.git
  git@gitlab.com.:acme/web-shop.git
  gitlab.com:acme/web-shop.git
  gitlab.com:acme/web-shop
  maria@gitlab.com:acme/web-shop.git
  gitlab@gitlab.com:acme/web-shop.git
  git@gitlab.com/acme/web-shop.git
  [git@gitlab.com:22]:acme/web-shop.git
  [gitlab.com:2222]:acme/web-shop.git
  ssh://git@gitlab.com/acme/web-shop.git
  ssh://git@gitlab.com/acme/web-shop
  ssh://gitlab.com/acme/web-shop.git
  ssh://git@gitlab.com:22/acme/web-shop.git
  ssh://git@gitlab.com:2222/acme/web-shop.git
  ssh://git@gitlab.com:/acme/web-shop.git
  ssh://git@GITLAB.COM/acme/web-shop.git
  SSH://git@gitlab.com/acme/web-shop.git
  ssh://git@gitlab.com//acme/web-shop.git
  ssh://git@gitlab.com:acme/web-shop.git
  ssh://gitlab.com:acme/web-shop.git
  ssh://git:FAKE-word@gitlab.com/acme/web-shop.git
  git+ssh://git@gitlab.com/acme/web-shop.git
  git+ssh://git@gitlab.com:22/acme/web-shop.git
  git+ssh://git@gitlab.com:acme/web-shop.git
  ssh+git://git@gitlab.com/acme/web-shop.git
  git://gitlab.com/acme/web-shop.git
  git://gitlab.com:9418/acme/web-shop.git
  git@altssh.gitlab.com:acme/web-shop.git
  ssh://git@altssh.gitlab.com:443/acme/web-shop.git
  ssh://git@altssh.gitlab.com/acme/web-shop.git
  git+ssh://git@altssh.gitlab.com:443/acme/web-shop.git
  ssh://git@altssh.gitlab.com:443/acme/web-shop.git#v1
  [git@altssh.gitlab.com:443]:acme/web-shop.git
  git@altssh.gitlab.com:acme/web-shop.git#main:docker
  `,
  ),
  gitlabCom(
    'SSH serves no pages: a project may be called like one',
    'acme/web-shop/issues',
    `
  git@gitlab.com:acme/web-shop/issues.git
  git@gitlab.com:acme/web-shop/issues
  ssh://git@gitlab.com/acme/web-shop/issues
  https://gitlab.com/acme/web-shop/issues.git
  https://gitlab.com/acme/web-shop/issues.git/info/refs
  `,
  ),
]

const WRAPPED = [
  gitlabCom(
    'quotes, brackets, ends of sentences',
    'acme/web-shop',
    `
  "https://gitlab.com/acme/web-shop.git"
  'https://gitlab.com/acme/web-shop.git'
  \`https://gitlab.com/acme/web-shop.git\`
  “https://gitlab.com/acme/web-shop”
  „https://gitlab.com/acme/web-shop”
  «https://gitlab.com/acme/web-shop»
  \\"https://gitlab.com/acme/web-shop.git\\"
  "git@gitlab.com:acme/web-shop.git",
  'git@gitlab.com:acme/web-shop.git';
  <https://gitlab.com/acme/web-shop>
  <git@gitlab.com:acme/web-shop.git>
  (https://gitlab.com/acme/web-shop)
  [https://gitlab.com/acme/web-shop]
  {https://gitlab.com/acme/web-shop}
  ("https://gitlab.com/acme/web-shop.git")
  https://gitlab.com/acme/web-shop.
  https://gitlab.com/acme/web-shop.git.
  https://gitlab.com/acme/web-shop,
  https://gitlab.com/acme/web-shop;
  https://gitlab.com/acme/web-shop!
  https://gitlab.com/acme/web-shop)
  https://gitlab.com/acme/web-shop).
  https://gitlab.com/acme/web-shop">
  git@gitlab.com:acme/web-shop.git.
  https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop.git
  https%3a%2f%2fgitlab.com%2facme%2fweb-shop
  git%40gitlab.com%3Aacme%2Fweb-shop.git
  ssh%3A%2F%2Fgit%40gitlab.com%2Facme%2Fweb-shop.git
  \u200bhttps://gitlab.com/acme/web-shop\u200b
  \ufeffhttps://gitlab.com/acme/web-shop
  \u00a0https://gitlab.com/acme/web-shop\u00a0
  `,
  ),
  gitlabCom(
    'markup and chats',
    'acme/web-shop',
    `
  [web-shop](https://gitlab.com/acme/web-shop)
  [web-shop](https://gitlab.com/acme/web-shop "The shop")
  [web-shop](<https://gitlab.com/acme/web-shop>)
  [](https://gitlab.com/acme/web-shop)
  ![badge](https://gitlab.com/acme/web-shop/badges/main/pipeline.svg)
  [web-shop](git@gitlab.com:acme/web-shop.git)
  <https://gitlab.com/acme/web-shop|web-shop>
  <https://gitlab.com/acme/web-shop|acme / web-shop>
  [[https://gitlab.com/acme/web-shop][web-shop]]
  [[https://gitlab.com/acme/web-shop]]
  https://gitlab.com/acme/web-shop[web-shop]
  link:https://gitlab.com/acme/web-shop[The shop]
  <a href="https://gitlab.com/acme/web-shop">web-shop</a>
  <a class=x href='https://gitlab.com/acme/web-shop' target=_blank>web-shop</a>
  view-source:https://gitlab.com/acme/web-shop
  `,
  ),
  gitlabCom(
    'commands and settings of Git',
    'acme/web-shop',
    `
  git clone https://gitlab.com/acme/web-shop.git
  git clone git@gitlab.com:acme/web-shop.git
  git clone --depth 1 --branch main https://gitlab.com/acme/web-shop.git folder
  $ git clone https://gitlab.com/acme/web-shop.git
  git remote add origin git@gitlab.com:acme/web-shop.git
  git remote set-url origin ssh://git@gitlab.com/acme/web-shop.git
  git submodule add https://gitlab.com/acme/web-shop.git vendor/web-shop
  origin\thttps://gitlab.com/acme/web-shop.git (fetch)
  origin\tgit@gitlab.com:acme/web-shop.git (push)
  origin https://gitlab.com/acme/web-shop.git (push)
  url = https://gitlab.com/acme/web-shop.git
  url = git@gitlab.com:acme/web-shop.git
  url=ssh://git@gitlab.com/acme/web-shop.git
  `,
  ),
  gitlabCom(
    'pip, PEP 508, Poetry, SPDX',
    'acme/web-shop',
    `
  git+https://gitlab.com/acme/web-shop.git
  git+https://gitlab.com/acme/web-shop
  git+https://gitlab.com/acme/web-shop.git@v1.0
  git+https://gitlab.com/acme/web-shop@v1.0
  git+https://gitlab.com/acme/web-shop.git@feature/cart
  git+https://gitlab.com/acme/web-shop.git@0a1b2c3d#egg=web-shop
  git+https://gitlab.com/acme/web-shop.git#egg=web-shop&subdirectory=pkg
  git+https://gitlab.com/acme/web-shop@main#subdirectory=pkg
  git+https://oauth2:FAKE-token@gitlab.com/acme/web-shop.git@v1
  git+ssh://git@gitlab.com/acme/web-shop.git@v1.0
  git+ssh://git@gitlab.com/acme/web-shop@v1.0#egg=web-shop
  git+git://gitlab.com/acme/web-shop.git
  git+git@gitlab.com:acme/web-shop.git
  -e git+https://gitlab.com/acme/web-shop.git#egg=web-shop
  --editable=git+https://gitlab.com/acme/web-shop.git#egg=web-shop
  --editable git+ssh://git@gitlab.com/acme/web-shop.git
  pip install git+https://gitlab.com/acme/web-shop.git@main
  pip install -e git+ssh://git@gitlab.com/acme/web-shop.git#egg=x
  web-shop @ git+https://gitlab.com/acme/web-shop.git
  web-shop @ git+https://gitlab.com/acme/web-shop@v1
  web-shop[cart,pay] @ git+https://gitlab.com/acme/web-shop.git@v1
  web_shop@git+https://gitlab.com/acme/web-shop.git
  git+https://gitlab.com/acme/web-shop.git@v1.0#src/lib
  git+https://gitlab.com/acme/web-shop/-/archive/v1/web-shop-v1.zip
  `,
  ),
  gitlabCom(
    'npm, Yarn, pnpm, Bower',
    'acme/web-shop',
    `
  gitlab:acme/web-shop
  gitlab:acme/web-shop.git
  gitlab:acme/web-shop#v1.0
  gitlab:acme/web-shop#semver:^1.0
  gitlab:oauth2:FAKE-token@acme/web-shop#main
  git+ssh://git@gitlab.com/acme/web-shop.git#semver:^1.0
  git+ssh://git@gitlab.com:acme/web-shop.git#v1
  git+https://git@gitlab.com/acme/web-shop.git#0a1b2c3d
  git+https://gitlab.com/acme/web-shop.git#semver:~2
  git://gitlab.com/acme/web-shop.git#v1
  web-shop@git+ssh://git@gitlab.com/acme/web-shop.git#v1
  @acme/web-shop@git+https://gitlab.com/acme/web-shop.git
  web-shop@https://gitlab.com/acme/web-shop.git#commit=0a1b2c3d
  https://gitlab.com/acme/web-shop.git#workspace=cart&commit=0a1b2c3d
  https://gitlab.com/acme/web-shop/-/archive/v1/web-shop-v1.tar.gz
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/repository/archive.tar.gz?ref=0a1b2c3d
  npm install git+https://gitlab.com/acme/web-shop.git
  "repository": "https://gitlab.com/acme/web-shop.git"
  repository: git+https://gitlab.com/acme/web-shop.git
  `,
  ),
  gitlabCom(
    'Terraform, Terragrunt, Kustomize, Helm',
    'acme/web-shop',
    `
  git::https://gitlab.com/acme/web-shop.git
  git::https://gitlab.com/acme/web-shop.git?ref=v1.2.0
  git::https://gitlab.com/acme/web-shop.git//modules/vpc?ref=v1&depth=1
  git::https://gitlab.com/acme/web-shop.git//modules/vpc
  git::https://oauth2:FAKE-token@gitlab.com/acme/web-shop.git//modules/vpc?ref=v1
  git::ssh://git@gitlab.com/acme/web-shop.git
  git::ssh://git@gitlab.com/acme/web-shop.git//modules/vpc?ref=v1
  git::ssh://git@gitlab.com:22/acme/web-shop.git?ref=v1
  git::git@gitlab.com:acme/web-shop.git
  git::git@gitlab.com:acme/web-shop.git//modules/vpc?ref=v1
  git@gitlab.com:acme/web-shop.git//modules/vpc?ref=v1
  git::gitlab.com/acme/web-shop.git//modules/vpc
  gitlab.com/acme/web-shop.git//modules/vpc?ref=v1
  https://gitlab.com/acme/web-shop.git//base?ref=v1&timeout=90s
  https://gitlab.com/acme/web-shop?ref=main
  ssh://git@gitlab.com/acme/web-shop.git//overlays/prod?ref=v1
  git+https://gitlab.com/acme/web-shop@charts?ref=main&sparse=0
  git+https://gitlab.com/acme/web-shop@charts/shop/index.yaml?ref=v1
  git+ssh://git@gitlab.com/acme/web-shop@charts?ref=main
  source = "git::https://gitlab.com/acme/web-shop.git?ref=v1"
  repoURL: https://gitlab.com/acme/web-shop.git
  repoURL: git@gitlab.com:acme/web-shop.git
  `,
  ),
  gitlabCom(
    'two slashes without .git: the folder of go-getter and Kustomize',
    ['acme/web-shop', 'acme/web-shop/modules/vpc'],
    `
  gitlab.com/acme/web-shop//modules/vpc
  https://gitlab.com/acme/web-shop//modules/vpc?ref=v1
  git::https://gitlab.com/acme/web-shop//modules/vpc
  git@gitlab.com:acme/web-shop//modules/vpc
  `,
  ),
  gitlabCom(
    'Go',
    'acme/web-shop',
    `
  gitlab.com/acme/web-shop?go-get=1
  https://gitlab.com/acme/web-shop?go-get=1
  gitlab.com/acme/web-shop@v1.2.3
  gitlab.com/acme/web-shop@latest
  gitlab.com/acme/web-shop@v0.0.0-20260101000000-0a1b2c3d4e5f
  gitlab.com/acme/web-shop.git/v2
  gitlab.com/acme/web-shop.git/v2@v2.1.0
  gitlab.com/acme/web-shop.git/cmd/shop@latest
  pkg:golang/gitlab.com/acme/web-shop@v1.2.3
  pkg:golang/gitlab.com/acme/web-shop@v1.2.3#cmd/shop
  pkg:gitlab/acme/web-shop@v1
  pkg:generic/web-shop@1.0?vcs_url=git%2Bhttps://gitlab.com/acme/web-shop.git%40v1
  pkg:pypi/web-shop@1.0?vcs_url=git+ssh://git@gitlab.com/acme/web-shop.git
  go get gitlab.com/acme/web-shop https://gitlab.com/acme/web-shop
  `,
  ),
  gitlabCom(
    'Go: the major version is a folder, or a project',
    ['acme/web-shop', 'acme/web-shop/v2'],
    `
  gitlab.com/acme/web-shop/v2
  gitlab.com/acme/web-shop/v2@v2.1.0
  https://gitlab.com/acme/web-shop/v2
  `,
  ),
  gitlabCom(
    'Maven, Gradle, sbt',
    'acme/web-shop',
    `
  scm:git:https://gitlab.com/acme/web-shop.git
  scm:git:git@gitlab.com:acme/web-shop.git
  scm:git:ssh://git@gitlab.com/acme/web-shop.git
  scm:git:git://gitlab.com/acme/web-shop.git
  scm:git|https://gitlab.com/acme/web-shop.git
  scm:git|git@gitlab.com:acme/web-shop.git
  scm:https://gitlab.com/acme/web-shop.git
  scm:git:[fetch=]https://gitlab.com/acme/web-shop.git[push=]git@gitlab.com:acme/web-shop.git
  scm:git:[push=]git@gitlab.com:acme/web-shop.git[fetch=]https://gitlab.com/acme/web-shop.git
  scm:git:[fetch=]https://gitlab.com/acme/web-shop.git
  connection: scm:git:https://gitlab.com/acme/web-shop.git
  SCM:GIT:https://gitlab.com/acme/web-shop.git
  `,
  ),
  gitlabCom(
    'Composer, Cargo, Ansible, Nix, Renovate, Backstage, Docker, GitLab CI',
    'acme/web-shop',
    `
  "url": "https://gitlab.com/acme/web-shop.git"
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/repository/archive.zip?sha=0a1b2c3d
  git+https://gitlab.com/acme/web-shop?branch=main#0a1b2c3d
  git+https://gitlab.com/acme/web-shop?tag=v1#0a1b2c3d
  git+https://gitlab.com/acme/web-shop?rev=0a1b2c#0a1b2c3d
  git+ssh://git@gitlab.com/acme/web-shop.git?branch=main#0a1b2c3d
  git = "https://gitlab.com/acme/web-shop.git"
  git+https://gitlab.com/acme/web-shop.git,v1.0
  git@gitlab.com:acme/web-shop.git,devel
  git+ssh://git@gitlab.com/acme/web-shop.git,0a1b2c3d
  git+https://gitlab.com/acme/web-shop.git#/collections/shop,v1
  git+https://gitlab.com/acme/web-shop?ref=main&rev=0a1b2c3d&dir=nix
  gitlab:acme/web-shop?dir=nix
  gitlab>acme/web-shop
  gitlab>acme/web-shop:preset
  gitlab>acme/web-shop#v1
  gitlab>acme/web-shop:preset#v1
  url:https://gitlab.com/acme/web-shop/-/blob/main/catalog-info.yaml
  url:https://gitlab.com/acme/web-shop/-/tree/main/
  https://gitlab.com/acme/web-shop.git#main
  https://gitlab.com/acme/web-shop.git#main:docker
  https://gitlab.com/acme/web-shop.git#:docker
  https://gitlab.com/acme/web-shop.git?branch=main&subdir=docker
  git@gitlab.com:acme/web-shop.git#main:docker
  docker build https://gitlab.com/acme/web-shop.git#main:docker
  remote = "https://gitlab.com/acme/web-shop.git"
  remote: https://gitlab.com/acme/web-shop.git
  git: git@gitlab.com:acme/web-shop.git
  repo: https://gitlab.com/acme/web-shop
  gitlab.com/acme/web-shop@1.0
  `,
  ),
  gitlabCom(
    'Nix, the owner encoded',
    'acme/platform/api',
    'gitlab:acme%2Fplatform/api\ngitlab:acme%2Fplatform/api/main',
  ),
  code(
    'Nix, another server',
    'acme/api',
    'gitlab:acme/api?host=code.example.org\ngitlab:acme/api/main?host=code.example.org',
  ),
  gitlabCom(
    'buttons that open a program',
    'acme/web-shop',
    `
  vscode://vscode.git/clone?url=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop.git
  vscode://vscode.git/clone?url=git%40gitlab.com%3Aacme%2Fweb-shop.git
  vscode-insiders://vscode.git/clone?url=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop.git
  jetbrains://idea/checkout/git?idea.required.plugins.id=Git4Idea&checkout.repo=git%40gitlab.com%3Aacme%2Fweb-shop.git
  jetbrains://idea/checkout/git?idea.required.plugins.id=Git4Idea&checkout.repo=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop.git
  xcode://clone?repo=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop
  git-client://clone?repo=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop
  sourcetree://cloneRepo?type=gitlab&cloneUrl=https%3A%2F%2Fgitlab.com%2Facme%2Fweb-shop.git
  x-github-client://openRepo/https://gitlab.com/acme/web-shop
  https://gitpod.io/#https://gitlab.com/acme/web-shop
  https://gitpod.io/#https://gitlab.com/acme/web-shop/-/tree/main/
  `,
  ),
]

const STATEMENTS = [
  gitlabCom(
    'statements of manifests and builds',
    'acme/web-shop',
    `
  {"type": "vcs", "url": "https://gitlab.com/acme/web-shop.git"}
  web-shop = { git = "https://gitlab.com/acme/web-shop", tag = "v1" }
  gem "web-shop", git: "https://gitlab.com/acme/web-shop.git", tag: "v1"
  gem 'web-shop', :git => 'git@gitlab.com:acme/web-shop.git'
  pod 'WebShop', :git => 'https://gitlab.com/acme/web-shop.git', :tag => '1'
  git "https://gitlab.com/acme/web-shop.git" "1.0"
  .package(url: "https://gitlab.com/acme/web-shop.git", from: "1.0.0")
  {:web_shop, git: "https://gitlab.com/acme/web-shop.git", tag: "1"}
  git_repository(name = "shop", remote = "https://gitlab.com/acme/web-shop.git")
  git_override(module_name = "shop", remote = "git@gitlab.com:acme/web-shop.git")
  git url: 'https://gitlab.com/acme/web-shop.git', branch: 'main'
  git branch: 'main', url: 'git@gitlab.com:acme/web-shop.git'
  checkout scmGit(userRemoteConfigs: [[url: 'https://gitlab.com/acme/web-shop.git']])
  <url>https://gitlab.com/acme/web-shop</url>
  <connection>scm:git:https://gitlab.com/acme/web-shop.git</connection>
  <connection>scm:git:git@gitlab.com:acme/web-shop.git</connection>
  <developerConnection>scm:git:git://gitlab.com/acme/web-shop.git</developerConnection>
  - src: git+https://gitlab.com/acme/web-shop.git
  ADD https://gitlab.com/acme/web-shop.git#v1 /src
  go get gitlab.com/acme/web-shop@v1.2.3
  go install gitlab.com/acme/web-shop@latest
  gitlab.com/acme/web-shop v1.2.3
  require gitlab.com/acme/web-shop v1.2.3 // indirect
  Clone it from https://gitlab.com/acme/web-shop.git please
  `,
  ),
]

const BEHIND = [
  gitlabCom(
    'pages of a project',
    'acme/web-shop',
    `
  https://gitlab.com/acme/web-shop/-/tree/main
  https://gitlab.com/acme/web-shop/-/tree/main/src?ref_type=heads#L10
  https://gitlab.com/acme/web-shop/-/blob/main/My%20File.md
  https://gitlab.com/acme/web-shop/-/blob/feature%2Fcart/a.ts
  https://gitlab.com/acme/web-shop/-/raw/main/README.md?inline=false
  https://gitlab.com/acme/web-shop/-/blame/main/README.md
  https://gitlab.com/acme/web-shop/-/commits/main
  https://gitlab.com/acme/web-shop/-/commit/0a1b2c3d
  https://gitlab.com/acme/web-shop/-/compare/main...dev
  https://gitlab.com/acme/web-shop/-/merge_requests
  https://gitlab.com/acme/web-shop/-/merge_requests/1/diffs#note_1
  https://gitlab.com/acme/web-shop/-/issues/1
  https://gitlab.com/acme/web-shop/-/issues/?label_name[]=bug
  https://gitlab.com/acme/web-shop/-/work_items/7
  https://gitlab.com/acme/web-shop/-/pipelines/123
  https://gitlab.com/acme/web-shop/-/jobs/123/artifacts/browse
  https://gitlab.com/acme/web-shop/-/releases/v1.0
  https://gitlab.com/acme/web-shop/-/tags
  https://gitlab.com/acme/web-shop/-/branches
  https://gitlab.com/acme/web-shop/-/wikis/home
  https://gitlab.com/acme/web-shop/-/snippets/12
  https://gitlab.com/acme/web-shop/-/settings/repository
  https://gitlab.com/acme/web-shop/-/archive/main/web-shop-main.zip
  https://gitlab.com/acme/web-shop/-/badges/release.svg
  https://gitlab.com/acme/web-shop/-/security/vulnerability_report
  https://gitlab.com/acme/web-shop/-/
  https://gitlab.com/acme/web-shop/-
  https://gitlab.com/acme/web-shop.atom
  https://gitlab.com/-/ide/project/acme/web-shop/edit/main/-/README.md
  https://gitlab.com/-/ide/project/acme/web-shop/tree/main
  https://gitlab.com/-/ide/project/acme/web-shop/merge_requests/1
  https://gitlab.com/admin/projects/acme/web-shop
  `,
  ),
  gitlabCom(
    'old addresses at names that are reserved',
    'acme/web-shop',
    `
  https://gitlab.com/acme/web-shop/tree/master
  https://gitlab.com/acme/web-shop/tree/master/src/tree
  https://gitlab.com/acme/web-shop/blob/master/README.md
  https://gitlab.com/acme/web-shop/raw/master/README.md
  https://gitlab.com/acme/web-shop/blame/master/README.md
  https://gitlab.com/acme/web-shop/commits/master
  https://gitlab.com/acme/web-shop/commits/master.atom
  https://gitlab.com/acme/web-shop/builds/123
  https://gitlab.com/acme/web-shop/badges/master/pipeline.svg
  https://gitlab.com/acme/web-shop/badges/master/coverage.svg?job=test
  https://gitlab.com/acme/web-shop/wikis/home
  https://gitlab.com/acme/web-shop/wikis
  https://gitlab.com/acme/web-shop/find_file/master
  https://gitlab.com/acme/web-shop/files/master
  https://gitlab.com/acme/web-shop/refs/master/logs_tree
  https://gitlab.com/acme/web-shop/new/master
  https://gitlab.com/acme/web-shop/edit/master/README.md
  https://gitlab.com/acme/web-shop/edit
  https://gitlab.com/acme/web-shop/create/master
  https://gitlab.com/acme/web-shop/environments/folders/review
  https://gitlab.com/acme/web-shop/TREE/master
  `,
  ),
  ...[
    'issues',
    'issues/1',
    'issues.atom',
    'merge_requests',
    'merge_requests/1',
    'merge_requests/1/diffs',
    'pipelines',
    'pipelines/123',
    'jobs/1',
    'tags',
    'tags/v1',
    'branches',
    'commit/0a1b2c3d',
    'compare/main...dev',
    'graphs/main',
    'network/main',
    'milestones/1',
    'labels',
    'boards',
    'snippets/12',
    'environments',
    'settings/ci_cd',
    'project_members',
    'activity',
    'container_registry',
    'releases',
    'repository/archive.zip',
    'repository/archive.tar.gz',
    'uploads/0a1b/picture.png',
    'wiki',
    'git-upload-pack',
    'info/lfs/locks',
  ].map((page) =>
    gitlabCom(
      'old addresses at names that a project may have as well',
      ['acme/web-shop', `acme/web-shop/${page.replace(/\.atom$/, '')}`],
      `https://gitlab.com/acme/web-shop/${page}`,
    ),
  ),
  gitlabCom(
    'services of Git and of LFS',
    'acme/web-shop',
    `
  https://gitlab.com/acme/web-shop.git/info/refs?service=git-upload-pack
  https://gitlab.com/acme/web-shop.git/info/refs
  https://gitlab.com/acme/web-shop/info/refs?service=git-upload-pack
  https://gitlab.com/acme/web-shop.git/git-upload-pack
  https://gitlab.com/acme/web-shop.git/git-receive-pack
  https://gitlab.com/acme/web-shop.git/info/lfs
  https://gitlab.com/acme/web-shop.git/info/lfs/objects/batch
  https://gitlab.com/acme/web-shop.git/info/lfs/locks/verify
  https://gitlab.com/acme/web-shop.git/gitlab-lfs/objects/0a1b2c/1234
  https://gitlab.com/acme/web-shop/gitlab-lfs/objects/0a1b2c
  https://gitlab.com/acme/web-shop.git/HEAD
  https://gitlab.com/acme/web-shop.git/tree/master
  https://gitlab.com/acme/web-shop.git/-/tree/master
  https://oauth2:FAKE-token@gitlab.com/acme/web-shop.git/info/lfs
  ssh://git@gitlab.com/acme/web-shop.git/info/lfs
  git@gitlab.com:acme/web-shop.git/info/lfs
  `,
  ),
  gitlabCom(
    'wikis of projects',
    ['acme/web-shop', 'acme/web-shop.wiki'],
    `
  https://gitlab.com/acme/web-shop.wiki.git
  https://gitlab.com/acme/web-shop.wiki
  https://gitlab.com/acme/web-shop.wiki.git/info/refs?service=git-upload-pack
  https://gitlab.com/acme/web-shop.wiki.git/info/lfs
  git@gitlab.com:acme/web-shop.wiki.git
  ssh://git@gitlab.com/acme/web-shop.wiki.git
  git clone git@gitlab.com:acme/web-shop.wiki.git
  `,
  ),
  gitlabCom(
    'wikis of groups',
    ['acme/platform', 'acme/platform.wiki'],
    'https://gitlab.com/acme/platform.wiki.git\ngit@gitlab.com:acme/platform.wiki.git',
  ),
  gitlabCom(
    'wikis of groups',
    ['acme', 'acme.wiki'],
    'https://gitlab.com/acme.wiki.git\ngit@gitlab.com:acme.wiki.git',
  ),
  gitlabCom(
    'designs',
    ['acme/web-shop', 'acme/web-shop.design'],
    'https://gitlab.com/acme/web-shop.design.git\ngit@gitlab.com:acme/web-shop.design.git',
  ),
  gitlabCom(
    'snippets of projects',
    ['acme/web-shop', 'acme/web-shop/snippets/12'],
    'https://gitlab.com/acme/web-shop/snippets/12.git\ngit@gitlab.com:acme/web-shop/snippets/12.git',
  ),
  gitlabCom(
    'the API',
    'acme/web-shop',
    `
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop
  https://gitlab.com/api/v4/projects/acme%2fweb-shop/
  https://gitlab.com/api/v4/projects/acme%252Fweb-shop
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/repository/files/README%2Emd/raw?ref=main
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/repository/archive
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/issues
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/packages/pypi/simple
  https://gitlab.com/api/v4/projects/acme%2Fweb-shop/packages/npm/
  https://gitlab.com/api/v3/projects/acme%2Fweb-shop
  gitlab.com/api/v4/projects/acme%2Fweb-shop
  `,
  ),
]

const GROUPS = [
  gitlabCom(
    'groups',
    'acme/platform',
    `
  https://gitlab.com/acme/platform
  https://gitlab.com/groups/acme/platform
  https://gitlab.com/groups/acme/platform/
  https://gitlab.com/groups/acme/platform/-/issues
  https://gitlab.com/groups/acme/platform/-/group_members
  https://gitlab.com/groups/acme/platform/-/edit#js-general-settings
  https://gitlab.com/groups/acme/platform/-/wikis/home
  https://gitlab.com/groups/acme/platform/-/settings/ci_cd
  https://gitlab.com/groups/acme/platform.atom
  https://gitlab.com/GROUPS/acme/platform
  gitlab.com/groups/acme/platform
  https://gitlab.com/api/v4/groups/acme%2Fplatform
  https://gitlab.com/api/v4/groups/acme%2Fplatform/projects?per_page=100
  https://gitlab.com/api/v4/groups/acme%2Fplatform/-/packages/pypi/simple
  https://gitlab.com/api/v4/namespaces/acme%2Fplatform
  https://gitlab.com/admin/groups/acme/platform
  [platform](https://gitlab.com/groups/acme/platform)
  `,
  ),
  gitlabCom('old pages of groups', ['acme', 'acme/issues'], 'https://gitlab.com/groups/acme/issues'),
  gitlabCom(
    'groups of the first level, and persons',
    'acme',
    `
  https://gitlab.com/acme
  https://gitlab.com/acme/
  https://gitlab.com/groups/acme
  https://gitlab.com/groups/acme/-/issues
  https://gitlab.com/groups/acme/edit
  https://gitlab.com/acme.atom
  https://gitlab.com/users/acme/projects
  https://gitlab.com/users/acme/activity
  https://gitlab.com/users/acme
  https://gitlab.com/api/v4/groups/acme
  https://gitlab.com/api/v4/users/acme/projects
  gitlab.com/acme
  https://gitlab.com/acme/-/packages
  `,
  ),
  gitlabCom(
    'the instance, and pages that name no place',
    '',
    `
  https://gitlab.com
  https://gitlab.com/
  gitlab.com
  https://gitlab.com/users/sign_in
  https://gitlab.com/users/sign_in?redirect_to_referer=yes
  https://gitlab.com/users/password/new
  https://gitlab.com/explore/projects
  https://gitlab.com/dashboard/projects
  https://gitlab.com/help
  https://gitlab.com/admin
  https://gitlab.com/-/profile/personal_access_tokens
  https://gitlab.com/-/user_settings/personal_access_tokens?name=x&scopes=api
  https://gitlab.com/-/snippets/12
  https://gitlab.com/snippets/12.git
  https://gitlab.com/groups
  https://gitlab.com/groups/new
  https://gitlab.com/projects/new
  https://gitlab.com/projects/278964
  https://gitlab.com/search?search=acme
  https://gitlab.com/api/v4
  https://gitlab.com/api/v4/projects
  https://gitlab.com/api/v4/projects/278964/repository/archive.zip
  https://gitlab.com/api/v4/groups/9970
  https://gitlab.com/api/v4/user
  https://gitlab.com/api/graphql
  https://gitlab.com/oauth/authorize?client_id=x
  `,
  ),
]

const INSTANCES = [
  underPath(
    'an instance under a path',
    'acme/web-shop',
    `
  https://git.example.com/gitlab/acme/web-shop.git
  https://git.example.com:443/gitlab/acme/web-shop
  https://GIT.example.com/gitlab/acme/web-shop/-/tree/main
  https://git.example.com/gitlab/acme/web-shop/tree/main
  https://git.example.com/gitlab/api/v4/projects/acme%2Fweb-shop
  https://git.example.com/gitlab/-/ide/project/acme/web-shop/edit/main/-/a
  https://git.example.com/gitlab//acme/web-shop.git
  git.example.com/gitlab/acme/web-shop
  git::https://git.example.com/gitlab/acme/web-shop.git//modules/vpc
  git@git.example.com:acme/web-shop.git
  ssh://git@git.example.com:2222/acme/web-shop.git
  git+ssh://git@git.example.com:acme/web-shop.git
  ssh://git@git.example.com/gitlab/acme/web-shop.git
  git@git.example.com:gitlab/acme/web-shop.git
  `,
  ),
  underPath(
    'groups of an instance under a path',
    'acme',
    `
  https://git.example.com/gitlab/acme
  https://git.example.com/gitlab/groups/acme
  https://git.example.com/gitlab/groups/acme/-/issues
  https://git.example.com/gitlab/users/acme/projects
  `,
  ),
  underPath(
    'the instance under a path',
    '',
    `
  https://git.example.com/gitlab
  https://git.example.com/gitlab/
  https://git.example.com/gitlab/users/sign_in
  https://git.example.com/gitlab/explore
  git.example.com/gitlab
  `,
  ),
  at('https://tools.example.net/dev/gitlab')(
    'two folders',
    'acme/web-shop',
    `
  https://tools.example.net/dev/gitlab/acme/web-shop.git
  https://tools.example.net/dev/gitlab/acme/web-shop/-/issues
  git@tools.example.net:acme/web-shop.git
  `,
  ),
  at('https://both.example.net/gitlab')(
    'the longest base URL, and the port of SSH',
    'acme/web-shop',
    `
  https://both.example.net/gitlab/acme/web-shop.git
  ssh://git@both.example.net:2222/acme/web-shop.git
  ssh://git@both.example.net:2222/gitlab/acme/web-shop.git
  [git@both.example.net:2222]:acme/web-shop.git
  `,
  ),
  at('https://both.example.net')(
    'what is not below the longest base URL',
    'gitlab-ce/acme/web-shop',
    `
  https://both.example.net/gitlab-ce/acme/web-shop.git
  git@both.example.net:gitlab-ce/acme/web-shop.git
  ssh://git@both.example.net/gitlab-ce/acme/web-shop.git
  ssh://git@both.example.net:22/gitlab-ce/acme/web-shop.git
  `,
  ),
  code(
    'an SSH host of its own',
    'acme/web-shop',
    `
  https://code.example.org/acme/web-shop.git
  ssh://git@ssh.example.org:2222/acme/web-shop.git
  [git@ssh.example.org:2222]:acme/web-shop.git
  git@ssh.example.org:acme/web-shop.git
  git::ssh://git@ssh.example.org:2222/acme/web-shop.git//modules?ref=v1
  SSH://git@SSH.example.org:2222/acme/web-shop.git
  `,
  ),
  port(
    'an instance on a port',
    'acme/web-shop',
    `
  https://code.example.org:8443/acme/web-shop.git
  https://code.example.org:8443/acme/web-shop/-/tree/main
  code.example.org:8443/acme/web-shop
  code.example.org:8443/acme/web-shop.git
  git@ssh8443.example.org:acme/web-shop.git
  ssh://git@ssh8443.example.org:2200/acme/web-shop.git
  `,
  ),
  plain(
    'http and an address',
    'acme/web-shop',
    `
  http://10.0.0.5:8080/acme/web-shop.git
  10.0.0.5:8080/acme/web-shop
  git@10.0.0.5:acme/web-shop.git
  ssh://git@10.0.0.5:2222/acme/web-shop.git
  `,
  ),
]

export const DOCUMENTED: Documented[] = [
  FORMS,
  NEWER_TOOLS,
  WRAPPED,
  STATEMENTS,
  BEHIND,
  GROUPS,
  INSTANCES,
].flat()
