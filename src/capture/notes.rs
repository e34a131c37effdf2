//! What was odd in one file, collected while reading and turned into sentences at the end.

/// Damages that get a warning of their own; the rest of a badly damaged file is only counted.
const MAX_DAMAGES: usize = 8;

/// Oddities that are tolerated: counted, and told in one sentence each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    OriginalBelowCaptured,
    FractionTooLarge,
    UndeclaredInterface,
    NoTime,
    BrokenOption,
    LongerThanBlock,
    TooManyInterfaces,
    UnpaddedBlock,
    UnknownVersion,
    TooManySecrets,
}

const SENTENCES: [(Odd, &str); 10] = [
    (
        Odd::OriginalBelowCaptured,
        "state an original length below the captured length; the captured length was used",
    ),
    (
        Odd::FractionTooLarge,
        "have a fraction of a second that is a second or more; the excess was added to the time",
    ),
    (
        Odd::UndeclaredInterface,
        "belong to an interface that the file does not declare, so their link type is unknown; \
         they were skipped",
    ),
    (
        Odd::NoTime,
        "carry no time (pcapng simple packets); each got the time of the packet \
         before it, or 1970 if there is none",
    ),
    (
        Odd::BrokenOption,
        "have an option that runs beyond its block; the options from there on were ignored",
    ),
    (
        Odd::LongerThanBlock,
        "promise more bytes than their block holds; the bytes that are there were used",
    ),
    (
        Odd::TooManyInterfaces,
        "declare one more interface than why502 keeps; packets of these interfaces were skipped",
    ),
    (Odd::UnpaddedBlock, "have a length that is no multiple of four; they were read as if padded"),
    (
        Odd::UnknownVersion,
        "have a format version that why502 does not know; they were read as version 1.0",
    ),
    (
        Odd::TooManySecrets,
        "hold more TLS keys than why502 keeps between two packets; they were left out",
    ),
];

/// A last item of which the end is missing.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) item: &'static str,
    pub(super) offset: u64,
    /// Bytes that the item needs, and bytes that are there.
    pub(super) promised: u64,
    pub(super) found: u64,
}

/// A file that follows another one in the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Its records are read as those of the first.
    Alike,
    /// They cannot be.
    Unlike,
}

/// Damage and oddities of one file.
#[derive(Debug, Default)]
pub(super) struct Notes {
    damaged_at: Option<u64>,
    damages: Vec<String>,
    further_damages: u64,
    further_skipped: u64,
    cut: Option<Cut>,
    odd: [u64; SENTENCES.len()],
}

impl Notes {
    #[cold]
    pub(super) fn odd(&mut self, odd: Odd) {
        self.odd[odd as usize] += 1;
    }

    /// The file makes no sense at `offset`. `skipped` bytes were passed over; `resumed` says
    /// whether packets follow them.
    #[cold]
    pub(super) fn damage(&mut self, offset: u64, what: &str, skipped: u64, resumed: bool) {
        self.damaged_at.get_or_insert(offset);
        if self.damages.len() >= MAX_DAMAGES {
            self.further_damages += 1;
            self.further_skipped += skipped;
            return;
        }
        let then = if resumed {
            format!("skipped {skipped} bytes, packets resume at offset {}", offset + skipped)
        } else {
            format!("nothing readable in the {skipped} bytes from there to the end")
        };
        self.damages.push(format!("damaged at offset {offset}: {what}; {then}"));
    }

    /// Another file begins at `offset`: files were joined end to end.
    #[cold]
    pub(super) fn joined(&mut self, offset: u64, another: Joined) {
        self.damaged_at.get_or_insert(offset);
        let then = match another {
            Joined::Alike => "which tshark and tcpdump do not read; it was read on",
            Joined::Unlike => {
                "of another link type or unit of time, which was not read; cut the file there"
            }
        };
        if self.damages.len() >= MAX_DAMAGES {
            self.further_damages += 1;
            return;
        }
        self.damages.push(format!(
            "another pcap begins at offset {offset}: files were joined end to end, {then} \
             (mergecap joins captures)"
        ));
    }

    /// The file ends inside an item.
    #[cold]
    pub(super) fn cut(&mut self, cut: Cut) {
        self.damaged_at.get_or_insert(cut.offset);
        self.cut = Some(cut);
    }

    pub(super) fn damaged_at(&self) -> Option<u64> {
        self.damaged_at
    }

    /// Ends the file: `trouble` is a read or decompression error that stopped it at `offset`.
    pub(super) fn finish(&mut self, offset: u64, trouble: Option<&str>) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.damages);
        if self.further_damages > 0 {
            warnings.push(format!(
                "{} more damaged places, {} bytes skipped there",
                self.further_damages, self.further_skipped
            ));
        }
        if let Some(trouble) = trouble {
            let at = self.cut.as_ref().map_or(offset, |cut| cut.offset);
            self.damaged_at.get_or_insert(at);
            warnings.push(format!(
                "reading stopped at offset {at}: {trouble}; everything before was read"
            ));
        } else if let Some(Cut { item, offset, promised, found }) = &self.cut {
            warnings.push(format!(
                "{item} at offset {offset} promises {promised} bytes, the file ends after \
                 {found}: cut short, probably still being written"
            ));
        }
        for (odd, sentence) in SENTENCES {
            match self.odd[odd as usize] {
                0 => {}
                count => warnings.push(format!("{count} records {sentence}")),
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oddity_has_its_own_sentence() {
        for (index, (odd, _)) in SENTENCES.iter().enumerate() {
            assert_eq!(*odd as usize, index);
        }
    }

    #[test]
    fn a_badly_damaged_file_does_not_flood_the_report() {
        let mut notes = Notes::default();
        for offset in 0..1000 {
            notes.damage(offset * 10, "nonsense", 4, true);
        }
        let warnings = notes.finish(10_000, None);
        assert_eq!(notes.damaged_at(), Some(0));
        assert_eq!(warnings.len(), MAX_DAMAGES + 1);
        assert_eq!(warnings[MAX_DAMAGES], "992 more damaged places, 3968 bytes skipped there");
    }

    #[test]
    fn a_damaged_stream_is_not_called_still_being_written() {
        let mut notes = Notes::default();
        notes.cut(Cut { item: "record", offset: 40, promised: 900, found: 12 });
        let warnings = notes.finish(52, Some("gzip: invalid distance"));
        assert_eq!(
            warnings,
            ["reading stopped at offset 40: gzip: invalid distance; everything before was read"]
        );
    }
}
