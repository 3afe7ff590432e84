-- Samples: every answer of every model to every problem; the missing rows are the work list.
-- `protocol` is the hash of model files and sampling, so that a changed model is asked again.
create table samples (
    model text not null,
    benchmark text not null,
    protocol text not null,
    problem text not null,
    sample integer not null,
    family text not null,
    text blob not null,
    answer text,
    correct integer not null,
    tokens integer not null,
    finish_reason text not null,
    primary key (model, benchmark, protocol, problem, sample)
) strict, without rowid;

-- Scores: the cells of the score table; `benchmark/family` for one family.
create table scores (
    model text not null,
    benchmark text not null,
    protocol text not null,
    mean real not null,
    standard_error real not null,
    n integer not null,
    created_at text not null,
    primary key (model, benchmark)
) strict, without rowid;
