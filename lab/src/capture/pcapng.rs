//! A capture as a pcapng file (draft-ietf-opsawg-pcapng): an interface block for each interface of each pod, packets with
//! comments, and at the end what the kernel counted.

use std::{
    borrow::Cow,
    io::Write,
    time::{Duration, SystemTime},
};

use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock as _, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::{
    CaptureError, Direction, Interface, Joined,
    tap::{Counted, SNAP_LENGTH},
};

/// Times count nanoseconds: ten to the power of minus this.
const NANOSECONDS: u8 = 9;

/// A file that is written.
pub struct File<W: Write> {
    writer: PcapNgWriter<W>,
    /// Packets written, for each interface.
    written: Vec<u64>,
}

impl<W: Write> File<W> {
    /// Writes the beginning: what wrote it, and the interfaces as `pod/interface`.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(writer: W, lab: &str, interfaces: &[Interface]) -> Result<Self, CaptureError> {
        let version = format!("hoplab {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            // Of the crate's two, the one in which it writes times of interface statistics as the format wants them.
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::UserApplication(version.into()),
                SectionHeaderOption::Comment(format!("lab {lab}").into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(writer, section).map_err(failed)?;
        for interface in interfaces {
            let name = format!("{}/{}", interface.pod, interface.name);
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: SNAP_LENGTH as u32,
                options: vec![
                    InterfaceDescriptionOption::IfName(name.into()),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            writer.write_block(&block.into_block()).map_err(failed)?;
        }
        Ok(Self {
            writer,
            written: vec![0; interfaces.len()],
        })
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// The writer's.
    pub fn packet(&mut self, packet: &Joined) -> Result<(), CaptureError> {
        let Joined { frame, comment, .. } = packet;
        let mut options = vec![EnhancedPacketOption::Comment(Cow::Borrowed(comment))];
        // The two lowest bits of epb_flags.
        match frame.direction {
            Direction::In => options.push(EnhancedPacketOption::Flags(1)),
            Direction::Out => options.push(EnhancedPacketOption::Flags(2)),
            Direction::Loopback => {}
        }
        let block = EnhancedPacketBlock {
            interface_id: frame.interface as u32,
            timestamp: frame.time,
            original_len: frame.length,
            data: Cow::Borrowed(&frame.bytes),
            options,
        };
        self.writer
            .write_block(&block.into_block())
            .map_err(failed)?;
        self.written[frame.interface] += 1;
        Ok(())
    }

    /// Has everything so far where readers find it.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.writer.get_mut().flush().map_err(CaptureError::Write)
    }

    /// Writes the end: what the kernel counted, interface by interface.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(&mut self, counted: &[Counted]) -> Result<(), CaptureError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(Duration::ZERO, |it| it).as_nanos();
        for ((counted, written), id) in counted.iter().zip(&self.written).zip(0..) {
            let block = InterfaceStatisticsBlock {
                interface_id: id,
                timestamp: u64::try_from(now).unwrap_or(u64::MAX),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(counted.seen),
                    InterfaceStatisticsOption::IsbIfDrop(counted.dropped),
                    InterfaceStatisticsOption::IsbUsrDeliv(*written),
                ],
            };
            self.writer
                .write_block(&block.into_block())
                .map_err(failed)?;
        }
        self.flush()
    }
}

/// The blocks are made here, so all that can go wrong is to write them.
fn failed(error: PcapError) -> CaptureError {
    CaptureError::Write(match error {
        PcapError::IoError(source) => source,
        other => std::io::Error::other(other),
    })
}
