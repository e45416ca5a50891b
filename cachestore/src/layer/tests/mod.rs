mod archive;
mod commit;
mod hostile;
mod recipe;
mod trees;
