-- Datasets: immutable once they have a row; the hash covers configuration and content.
create table datasets (
    id integer primary key,
    name text not null,
    arm text not null check (arm in ('verified', 'unverified')),
    hash text not null unique,
    rows integer not null,
    path text not null,
    created_at text not null
) strict;

create table dataset_examples (
    dataset_id integer not null references datasets (id) on delete cascade,
    position integer not null,
    trace_id integer not null references traces (id),
    primary key (dataset_id, position)
) strict, without rowid;

-- Runs: one training run each. `hash` covers configuration and data: the same run is resumed, not repeated.
create table runs (
    id integer primary key,
    name text not null,
    dataset_id integer references datasets (id),
    config text not null,
    hash text not null unique,
    state text not null check (state in ('running', 'done')),
    steps_total integer not null,
    path text not null,
    created_at text not null
) strict;

create table steps (
    run_id integer not null references runs (id) on delete cascade,
    step integer not null,
    data text not null,
    primary key (run_id, step)
) strict, without rowid;

create table checkpoints (
    run_id integer not null references runs (id) on delete cascade,
    step integer not null,
    path text not null,
    primary key (run_id, step)
) strict, without rowid;
