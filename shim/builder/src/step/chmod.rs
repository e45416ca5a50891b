//! Symbolic modes of `--chmod`: `u=rwX,go-w`. Where the chmod(1) of systems differ, BuildKit's follows BSD.

/// A change of permissions that depends on what a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SymbolicMode {
    text: String,
    clauses: Vec<Clause>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    who: Who,
    actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Who {
    user: bool,
    group: bool,
    others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Action {
    operator: char,
    permissions: Vec<char>,
}

const ALL: Who = Who { user: true, group: true, others: true };
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl SymbolicMode {
    /// Parses a mode; nothing if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let clauses = text.split(',').map(parse_clause).collect::<Option<_>>()?;
        Some(Self { text: text.to_owned(), clauses })
    }

    /// Returns the text that it was made from.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the mode of a file that had `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut mode = mode & 0o7777;
        for clause in &self.clauses {
            for action in &clause.actions {
                mode = action.apply(clause.who, mode, is_directory);
            }
        }
        mode
    }
}

fn parse_clause(text: &str) -> Option<Clause> {
    let operators = text.find(['+', '-', '='])?;
    let mut who = Who::default();
    for letter in text[..operators].chars() {
        match letter {
            'u' => who.user = true,
            'g' => who.group = true,
            'o' => who.others = true,
            'a' => who = ALL,
            _ => return None,
        }
    }
    let who = if who == Who::default() { ALL } else { who };
    let mut actions: Vec<Action> = Vec::new();
    for letter in text[operators..].chars() {
        match letter {
            '+' | '-' | '=' => actions.push(Action { operator: letter, permissions: Vec::new() }),
            'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => {
                actions.last_mut()?.permissions.push(letter)
            }
            _ => return None,
        }
    }
    Some(Clause { who, actions })
}

impl Action {
    /// What `=` clears: not the sticky bit, and no set-id bit where permissions are taken from others (`g=u`).
    fn cleared(&self, who: Who) -> u32 {
        let set_ids = (if who.user { SET_UID } else { 0 }) | (if who.group { SET_GID } else { 0 });
        let copies = self.permissions.iter().any(|letter| matches!(letter, 'u' | 'g' | 'o'));
        who.spread(7) | (if copies { 0 } else { set_ids })
    }

    fn apply(&self, who: Who, mode: u32, is_directory: bool) -> u32 {
        let bits = self
            .permissions
            .iter()
            .map(|&letter| bits_of(letter, who, mode, is_directory))
            .fold(0, |a, b| a | b);
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !self.cleared(who)) | bits,
        }
    }
}

/// Returns what a letter stands for, in the places of those whom the clause names.
fn bits_of(letter: char, who: Who, mode: u32, is_directory: bool) -> u32 {
    match letter {
        'r' => who.spread(4),
        'w' => who.spread(2),
        'x' => who.spread(1),
        'X' if is_directory || mode & 0o111 != 0 => who.spread(1),
        's' => (if who.user { SET_UID } else { 0 }) | (if who.group { SET_GID } else { 0 }),
        't' if who.user || who.group => STICKY,
        'u' => who.spread(mode >> 6 & 7),
        'g' => who.spread(mode >> 3 & 7),
        'o' => who.spread(mode & 7),
        _ => 0,
    }
}

impl Who {
    fn spread(self, bits: u32) -> u32 {
        let place = |named: bool, shift: u32| if named { bits << shift } else { 0 };
        place(self.user, 6) | place(self.group, 3) | place(self.others, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_with_chmod() {
        for (text, before, is_directory, after) in [
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a=r", 0o777, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("o=g-w", 0o664, false, 0o664),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("+t", 0o777, true, 0o1777),
            ("u=", 0o4755, false, 0o055),
            ("u-x+w", 0o555, false, 0o655),
            ("o+t", 0o755, true, 0o755),
            ("u+t", 0o755, true, 0o1755),
            ("ug=rwx,o=t", 0o600, false, 0o770),
            ("g=u", 0o2770, true, 0o2770),
            ("=rx", 0o1777, true, 0o1555),
            ("o+s", 0o755, false, 0o755),
        ] {
            let mode = SymbolicMode::parse(text).unwrap().apply(before, is_directory);
            assert_eq!(mode, after, "{text} {before:o}: {mode:o}");
        }
        for bad in ["", "x", "u", "u+q", "z+x", "u+x,", "755"] {
            assert!(SymbolicMode::parse(bad).is_none(), "{bad}");
        }
    }
}
