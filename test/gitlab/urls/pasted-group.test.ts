import t from 'tap'
import { readGroup } from '../../../src/gitlab/urls/pasted-group.ts'

const INSTANCE = { base_url: 'https://git.example.com/gitlab', ssh_hosts: ['ssh.example.com'] }

t.test('a group is read however people write it', async (t) => {
  const table: [path: string, texts: string[]][] = [
    [
      'acme/platform',
      [
        'acme/platform',
        '/acme/platform/',
        '  acme/platform\n',
        '"acme/platform"',
        "'acme/platform'",
        '`acme/platform`',
        '“acme/platform”',
        '<acme/platform>',
        '(acme/platform)',
        'acme/platform,',
        'acme/platform.',
        '@acme/platform',
        'acme%2Fplatform',
        'acme%2fplatform',
        'acme / platform',
        'acme > platform',
        'acme » platform',
        'acme//platform',
        'groups/acme/platform',
        '/groups/acme/platform',
        'groups/acme/platform/-/issues',
        'https://git.example.com/gitlab/acme/platform',
        'https://git.example.com/gitlab/groups/acme/platform',
        'https://git.example.com/gitlab/groups/acme/platform/',
        'https://git.example.com/gitlab/groups/acme/platform/-/group_members?x#y',
        'https://git.example.com/gitlab/api/v4/groups/acme%2Fplatform',
        'HTTPS://GIT.example.com:443/gitlab/acme/platform',
        'git.example.com/gitlab/acme/platform',
        '<https://git.example.com/gitlab/groups/acme/platform|platform>',
        '[platform](https://git.example.com/gitlab/groups/acme/platform)',
      ],
    ],
    [
      'acme/web-shop',
      [
        'acme/web-shop.git',
        'https://git.example.com/gitlab/acme/web-shop/-/tree/main',
        'https://git.example.com/gitlab/acme/web-shop.git',
        'git@git.example.com:acme/web-shop.git',
        'ssh://git@ssh.example.com:2222/acme/web-shop.git',
      ],
    ],
    ['acme', ['acme', '@acme', '/acme', 'acme/', 'https://git.example.com/gitlab/acme', 'groups/acme']],
    ['maria', ['@maria', 'users/maria', 'https://git.example.com/gitlab/users/maria/projects']],
    ['Acme/Platform', ['Acme/Platform', 'Acme / Platform']],
    ['acme.io/x', ['acme.io/x']],
    ['acme/web-shop/issues', ['acme/web-shop/issues']],
  ]
  for (const [path, texts] of table)
    for (const text of texts) t.same(readGroup(text, INSTANCE), { path }, text)
})

t.test('what is no group, or one of another GitLab, is named', async (t) => {
  for (const text of [
    'https://gitlab.com/acme/platform',
    'https://git.example.com/acme/platform',
    'https://git.example.com.evil.example/gitlab/acme',
    'http://git.example.com/gitlab/acme',
    'git@gitlab.com:acme/web-shop.git',
  ])
    t.same(readGroup(text, INSTANCE), { fault: 'elsewhere' }, text)
  for (const text of [
    '/',
    '@',
    '-',
    '..',
    'acme/../globex',
    'acme\\platform',
    'my group',
    'acme/plat form',
    'acme?x',
    'acme%00',
    'https://git.example.com/gitlab',
    'https://git.example.com/gitlab/users/sign_in',
    'ftp://git.example.com/gitlab/acme',
    'a'.repeat(1001),
  ])
    t.same(readGroup(text, INSTANCE), { fault: 'unreadable' }, text.slice(0, 60))
})
