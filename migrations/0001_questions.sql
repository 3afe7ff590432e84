-- Questions: what teachers are asked and benchmarks are made of. `key` is the row id within its
-- source, so that importing the same rows twice changes nothing. Large text is zstd.
create table questions (
    id integer primary key,
    source text not null,
    key text not null,
    domain text not null check (domain in ('math', 'code', 'biology', 'chemistry', 'physics', 'puzzle')),
    family text not null default '',
    split text not null check (split in ('train', 'held_out')),
    problem blob not null,
    reference text,
    tests blob,
    starter_code text,
    unique (source, key)
) strict;

create index questions_by_split on questions (split, domain, id);
