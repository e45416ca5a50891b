mod archive;
mod commit;
mod hostile;
mod lookup;
mod recipe;
mod trees;
