-- Verdicts side by side: one per trace and mode, so that what a published harness decides stands beside
-- what we decide. `detail` holds all that is needed to judge again; the columns that are read in bulk are
-- taken from it.
create table verdicts_by_mode (
    trace_id integer not null references traces (id) on delete cascade,
    mode text not null check (mode in ('strict', 'upstream', 'lcb', 'evalchemy-lcb')),
    verdict text not null check (verdict in ('correct', 'wrong', 'unchecked', 'unreadable')),
    why text not null,
    verifier text not null,
    version integer not null,
    detail text not null,
    created_at text not null,
    outcome text generated always as (detail ->> '$.outcome') virtual,
    comparator text generated always as (detail ->> '$.comparator') virtual,
    tier text generated always as (detail ->> '$.tier') virtual,
    cpu_ms integer generated always as (detail ->> '$.cpu_ms') virtual,
    wall_ms integer generated always as (detail ->> '$.wall_ms') virtual,
    memory_bytes integer generated always as (detail ->> '$.memory_bytes') virtual,
    flaky integer generated always as (detail ->> '$.flaky') virtual,
    primary key (trace_id, mode)
) strict;

insert into verdicts_by_mode (trace_id, mode, verdict, why, verifier, version, detail, created_at)
select trace_id, case verifier when 'code_openthoughts' then 'upstream' else 'strict' end,
    verdict, why, verifier, version, detail, created_at
from verdicts;

drop table verdicts;

alter table verdicts_by_mode rename to verdicts;

create index verdicts_by_verdict on verdicts (mode, verdict);

-- Whose verdicts decided what a dataset admits.
alter table datasets add column verdicts text not null default 'strict';

-- Unresolved: traces that we could not judge, through no fault of the trace. They have no verdict, so
-- the next run judges them again.
create table unresolved (
    trace_id integer not null references traces (id) on delete cascade,
    mode text not null,
    why text not null,
    created_at text not null,
    primary key (trace_id, mode)
) strict, without rowid;
