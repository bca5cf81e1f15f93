//! Changes inputs: bytes, integers, chunks, lines, decimal numbers and words of a dictionary.

use crate::random::Random;

/// Changes an input a few times. `others` are inputs to take chunks from.
pub(crate) fn mutate(
    input: &mut Vec<u8>,
    others: &[Vec<u8>],
    dictionary: &[Vec<u8>],
    longest: usize,
    random: &mut Random,
) {
    // One change is the most likely to leave the rest of the input valid.
    let changes = 1 + random.below(4) * random.below(3);
    for _ in 0..changes {
        once(input, others, dictionary, random);
        input.truncate(longest);
    }
}

fn once(input: &mut Vec<u8>, others: &[Vec<u8>], dictionary: &[Vec<u8>], random: &mut Random) {
    match random.below(14) {
        0 => flip(input, random),
        1 => set(input, random),
        2 => integer(input, random),
        3 => add(input, random),
        4 => remove(input, random),
        5 => repeat(input, random),
        6 => insert(input, &random.bytes(16), random),
        7 => truncate(input, random),
        8 => line(input, random),
        9 => decimal(input, random),
        10 => splice(input, others, random),
        11 => swap(input, random),
        _ => match dictionary {
            [] => flip(input, random),
            words => {
                let word = random.one_of(words).clone();
                match random.once_in(2) {
                    true => insert(input, &word, random),
                    false => overwrite(input, &word, random),
                }
            }
        },
    }
}

/// A range of the input, most often a short one.
fn range(input: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(input.len());
    let most = match random.below(4) {
        0 => input.len(),
        1 => 64,
        _ => 8,
    };
    let length = (1 + random.below(most)).min(input.len() - start);
    start..start + length
}

fn flip(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte = *random.one_of(&[0, 1, 0x7f, 0x80, 0xff, b' ', b'/', b'\n', b'"', b':', b'\\']);
    }
}

/// Writes an integer of 2, 4 or 8 bytes.
fn integer(input: &mut [u8], random: &mut Random) {
    let bytes = random.awkward().to_le_bytes();
    let mut bytes = bytes[..*random.one_of(&[2, 4, 8])].to_vec();
    if random.once_in(4) {
        bytes.reverse();
    }
    overwrite(input, &bytes, random);
}

/// Adds a small number to a byte.
fn add(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte = byte.wrapping_add(*random.one_of(&[1, 2, 8, 0xff, 0xfe, 0xf8]));
    }
}

fn remove(input: &mut Vec<u8>, random: &mut Random) {
    let range = range(input, random);
    input.drain(range);
}

/// Repeats a range: seldom very often, which nests what can be nested.
fn repeat(input: &mut Vec<u8>, random: &mut Random) {
    let range = range(input, random);
    let most = if random.once_in(16) { 2_000 } else { 4 };
    let times = 1 + random.below(most);
    let end = range.end;
    let chunk = input[range].repeat(times);
    input.splice(end..end, chunk);
}

fn insert(input: &mut Vec<u8>, chunk: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, chunk.iter().copied());
}

fn overwrite(input: &mut [u8], chunk: &[u8], random: &mut Random) {
    let at = random.below(input.len());
    for (to, from) in input[at..].iter_mut().zip(chunk) {
        *to = *from;
    }
}

fn truncate(input: &mut Vec<u8>, random: &mut Random) {
    let length = random.below(input.len() + 1);
    input.truncate(length);
}

/// Removes, doubles or moves a line.
fn line(input: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = input
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let at = random.below(lines.len());
    let taken = lines.remove(at);
    if !random.once_in(3) {
        let copies = 1 + random.below(2);
        for _ in 0..copies {
            let at = random.below(lines.len() + 1);
            lines.insert(at, taken.clone());
        }
    }
    *input = lines.join(&b'\n');
}

/// Replaces a decimal number.
fn decimal(input: &mut Vec<u8>, random: &mut Random) {
    let starts: Vec<usize> = (0..input.len())
        .filter(|at| input[*at].is_ascii_digit() && (*at == 0 || !input[*at - 1].is_ascii_digit()))
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = *random.one_of(&starts);
    let length = input[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = match random.below(3) {
        0 => format!("-{}", random.below(70)),
        1 => format!("{}", random.below(70)),
        _ => format!("{}", random.awkward()),
    };
    input.splice(start..start + length, number.into_bytes());
}

/// Inserts a chunk of another input, or ends as that input does.
fn splice(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    if others.is_empty() {
        return;
    }
    let other = random.one_of(others);
    if random.once_in(2) {
        let chunk = other[range(other, random)].to_vec();
        insert(input, &chunk, random);
    } else {
        let at = random.below(input.len().min(other.len()) + 1);
        input.truncate(at);
        input.extend_from_slice(&other[at..]);
    }
}

fn swap(input: &mut [u8], random: &mut Random) {
    let (one, other) = (random.below(input.len()), random.below(input.len()));
    if !input.is_empty() {
        input.swap(one, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_every_input_is_bounded() {
        let mut random = Random::new(1);
        let others = [Vec::new(), b"a 17\nb\n".to_vec()];
        for words in [Vec::new(), vec![b"word".to_vec()]] {
            for start in [&b""[..], b"x", b"1 2 3\n4 5\n"] {
                for _ in 0..20_000 {
                    let mut input = start.to_vec();
                    mutate(&mut input, &others, &words, 64, &mut random);
                    assert!(input.len() <= 64);
                }
            }
        }
    }

    #[test]
    fn a_seed_determines_the_changes() {
        let changed = |seed| {
            let mut random = Random::new(seed);
            let mut input = b"0::/kubepods/burstable\n".to_vec();
            for _ in 0..100 {
                mutate(&mut input, &[], &[], 256, &mut random);
            }
            input
        };
        assert_eq!(changed(7), changed(7));
        assert_ne!(changed(7), changed(8));
    }
}
