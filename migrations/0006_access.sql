-- Who may use the panel and the API. Secrets are stored hashed only.
create table passwords (
    id integer primary key check (id = 1),
    hash text not null,
    changed_at integer not null
) strict;

-- Browser sessions; times are unix seconds.
create table sessions (
    token_hash text primary key,
    created_at integer not null,
    last_used_at integer not null
) strict, without rowid;

-- Keys for `/v1`.
create table api_tokens (
    id integer primary key,
    name text not null,
    token_hash text not null unique,
    last4 text not null,
    created_at integer not null,
    last_used_at integer
) strict;

-- The one-time setup token; gone once a password exists.
create table setup_tokens (
    token_hash text primary key,
    expires_at integer not null
) strict, without rowid;
