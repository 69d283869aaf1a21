//! Result codes that may reach a client.

wire_names! {
    /// How a request ended.
    ResultCode(u32) {
        /// Done.
        Success = 0x00 "SUCCESS",
        /// Not told.
        Unknown = 0x01 "UNKNOWN",
        /// No such object.
        NoObject = 0x02 "NO_OBJ",
        /// A disk failed, or no copy has a right checksum.
        Io = 0x03 "EIO",
        /// A working VDI of that name exists.
        VdiExists = 0x04 "VDI_EXIST",
        /// The request makes no sense.
        InvalidParameters = 0x05 "INVALID_PARMS",
        /// Something else failed.
        SystemError = 0x06 "SYSTEM_ERROR",
        /// Another client has the VDI open.
        VdiLocked = 0x07 "VDI_LOCKED",
        /// No such VDI.
        NoVdi = 0x08 "NO_VDI",
        /// No such base.
        NoBaseVdi = 0x09 "NO_BASE_VDI",
        /// A VDI's inode cannot be read.
        VdiRead = 0x0a "VDI_READ",
        /// A VDI's inode cannot be written.
        VdiWrite = 0x0b "VDI_WRITE",
        /// A base's inode cannot be read.
        BaseVdiRead = 0x0c "BASE_VDI_READ",
        /// A base's inode cannot be written.
        BaseVdiWrite = 0x0d "BASE_VDI_WRITE",
        /// The VDI exists, but no snapshot of that tag or id.
        NoTag = 0x0e "NO_TAG",
        /// The cluster starts up.
        Startup = 0x0f "STARTUP",
        /// The VDI was not locked; clients take it for success.
        VdiNotLocked = 0x10 "VDI_NOT_LOCKED",
        /// The cluster stops.
        Shutdown = 0x11 "SHUTDOWN",
        /// No memory.
        NoMemory = 0x12 "NO_MEM",
        /// All vids are used.
        FullVdi = 0x13 "FULL_VDI",
        /// Unknown protocol version.
        VersionMismatch = 0x14 "VER_MISMATCH",
        /// No room for a new object.
        NoSpace = 0x15 "NO_SPACE",
        /// The cluster is not formatted.
        WaitForFormat = 0x16 "WAIT_FOR_FORMAT",
        /// Members are missing.
        WaitForJoin = 0x17 "WAIT_FOR_JOIN",
        /// The sheep could not join.
        JoinFailed = 0x18 "JOIN_FAILED",
        /// Too few zones.
        Halt = 0x19 "HALT",
        /// The object belongs to a snapshot.
        ReadOnly = 0x1a "READONLY",
        /// Another client changed the map.
        InodeInvalidated = 0x1d "INODE_INVALIDATED",
    }
}
