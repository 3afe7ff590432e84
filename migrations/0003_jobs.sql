-- Plans: recipes as they were resolved; a rerun of a stored plan is the same input.
create table plans (
    id integer primary key,
    recipe text not null,
    plan text not null,
    hash text not null unique,
    created_at text not null
) strict;

-- Jobs: each stage run is a row and a child process.
create table jobs (
    id integer primary key,
    plan_id integer references plans (id),
    kind text not null,
    config text not null,
    state text not null check (state in
        ('queued', 'running', 'stopping', 'done', 'failed', 'cancelled', 'interrupted')),
    done integer not null default 0,
    total integer not null default 0,
    note text not null default '',
    pid integer,
    error text,
    hint text,
    summary text,
    -- Fingerprint of what the job read: equal again, nothing to do.
    inputs text,
    created_at text not null,
    started_at text,
    finished_at text
) strict;

create index jobs_by_state on jobs (state);
create index jobs_by_plan on jobs (plan_id, id);

-- Events: what the panel is told, in order. `id` is the SSE id; the oldest rows are pruned.
create table events (
    id integer primary key autoincrement,
    topic text not null,
    data text not null
) strict;
