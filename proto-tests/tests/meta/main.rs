//! What holds of the sources themselves: arrows between rooms, the wall, the ledger of requirements, the files for containerlab.

mod arrows;
mod calico;
mod clab_lint;

mod dependencies;
mod docs;
mod interop;
mod json_schema;
mod labs;
mod operator;
mod requirements;
mod sources;
mod texts;
mod wall;
