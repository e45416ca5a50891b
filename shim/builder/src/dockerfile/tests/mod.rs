mod dump;
mod golden;
mod limits;
mod robust;

use super::*;

fn error_of(text: &[u8]) -> Option<String> {
    parse(text).err().map(|error| error.to_string())
}
